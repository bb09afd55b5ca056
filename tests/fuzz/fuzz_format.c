/* Any bytes as a .fewbit file: refused with a sentence, or a model that passes validation, has
 * shapes for another batch, and can be written and read again. Checksums are not compared, or the
 * fuzzer would never get past them. */
#include "base/alloc.h"
#include "format/format.h"
#include "model/shape.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(int cond)
{
    if (!cond)
        abort();
}

/* What opens can be saved, and what was saved opens and is saved to the same bytes. */
static void write_again(const fb_model *m, unsigned flags)
{
    fb_out once, twice;
    uint64_t predicted;
    fb_model *again = NULL;
    bool in_place;
    require(fb_format_write(m, flags, &once) == FB_OK);
    if (flags == 0)
        require(fb_model_file_bytes(m, &predicted) == FB_OK && predicted == once.n);
    require(fb_format_read(once.data, once.n, 0, &again, &in_place) == FB_OK);
    require(fb_format_write(again, flags, &twice) == FB_OK);
    require(once.n == twice.n && memcmp(once.data, twice.data, once.n) == 0);
    fb_model_close(&again);
    fb_out_free(&once);
    fb_out_free(&twice);
}

static void use(const fb_model *m)
{
    fb_shape *shapes = fb_calloc(m->n_tensors + 1, sizeof *shapes);
    if (shapes)
        (void)fb_shape_infer(m, 2, shapes);
    fb_free(shapes);
    for (uint32_t i = 0; i < fb_model_n_tensors(m); i++) {
        fb_tensor_info info;
        int64_t n;
        require(fb_model_tensor(m, i, &info) == FB_OK);
        if (!info.is_const || !fb_tensor_elems(&m->tensors[i], 1, &n))
            continue;
        float *values = fb_calloc((size_t)n, sizeof *values);
        if (values)
            require(fb_tensor_decode(&m->tensors[i], values) == FB_OK);
        fb_free(values);
    }
    for (uint32_t i = 0; i < fb_model_n_layers(m); i++) {
        fb_layer_info info;
        require(fb_model_layer(m, i, &info) == FB_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = fb_alloc(bytes);
    fb_model *m = NULL;
    bool in_place;
    if (!copy)
        return 0;
    if (bytes > 0)
        memcpy(copy, data, bytes);
    /* The size in the header follows the input, or no mutation that grows it would pass. */
    if (bytes >= FB_FORMAT_HEADER) {
        for (int i = 0; i < 8; i++)
            copy[16 + i] = (uint8_t)((uint64_t)bytes >> (8 * i));
    }
    fb_status status = fb_format_read(copy, bytes, FB_FORMAT_NO_CHECKSUM, &m, &in_place);
    if (status == FB_OK) {
        use(m);
        /* Coding takes a thousand times longer than the rest: now and then is enough. */
        write_again(m, bytes % 64 == 0 ? 0 : FB_FORMAT_NO_CODING);
        fb_model_close(&m);
    } else {
        require(m == NULL && fb_error()[0] != '\0');
    }
    fb_free(copy);
    return 0;
}
