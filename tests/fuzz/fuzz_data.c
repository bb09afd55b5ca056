/* libFuzzer: everything in src/data that reads bytes from outside. The first byte picks the reader,
 * the second the options, the rest is the file. */
#include "base/alloc.h"
#include "data/prep.h"
#include "data/prepare.h"
#include "data/set.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const preps[] = {"none",
                                    "imagenet,size=24",
                                    "caffe,resize=40,size=32",
                                    "mnist,resize=28/28",
                                    "cifar10,size=32",
                                    "tensorflow,resize=0"};
static const fb_sample_shape shapes[] = {
    {28, 28, 1, true}, {32, 32, 3, false}, {32, 32, 3, true}, {1, 1, 784, true}, {24, 24, 3, true}};

static bool make_prepare(uint8_t choice, fb_data_prepare *prepare)
{
    fb_prep prep;
    const fb_sample_shape *shape = &shapes[choice % 5];
    if (fb_prep_parse(preps[choice / 5 % 6], &prep) != FB_OK)
        abort();
    fb_prep_fit(&prep, shape->height, shape->width);
    return fb_data_prepare_init(prepare, &prep, shape) == FB_OK;
}

static void fuzz_image(const uint8_t *data, size_t size, const fb_data_prepare *prepare)
{
    fb_data_scratch scratch;
    memset(&scratch, 0, sizeof scratch);
    fb_data_image image;
    if (fb_data_image_decode(data, size, &scratch.pixels, &image) == FB_OK) {
        float *x = malloc(prepare->n_elems * sizeof *x);
        if (x)
            (void)fb_data_prepare_image(prepare, &image, true, &scratch, x);
        free(x);
    }
    fb_data_scratch_free(&scratch);
}

/* The first and the last sample, if the set fits the network. */
static void read_samples(fb_data_set *set, const fb_data_prepare *prepare)
{
    fb_data_scratch scratch;
    memset(&scratch, 0, sizeof scratch);
    float *x = malloc(prepare->n_elems * sizeof *x);
    if (x && fb_data_array_fit(&set->array, prepare) == FB_OK) {
        (void)fb_data_array_read(&set->array, prepare, 0, &scratch, x);
        (void)fb_data_array_read(&set->array, prepare, set->n - 1, &scratch, x);
    }
    free(x);
    fb_data_scratch_free(&scratch);
}

static void fuzz_array(int reader, const uint8_t *data, size_t size, const fb_data_prepare *prepare)
{
    fb_data_set set;
    fb_data_set_init(&set);
    fb_data_bytes bytes = fb_data_bytes_memory(data, size), member;
    fb_status status;
    bool found = false;
    if (reader == 1) {
        status = fb_data_parse_npy(&bytes, "fuzz", &set);
    } else if (reader == 2) {
        status = fb_data_parse_npz_member(&bytes, "fuzz", "x", false, &found, &member);
        if (status == FB_OK)
            status = fb_data_parse_npy(&member, "fuzz", &set);
    } else {
        status = fb_data_parse_idx(&bytes, "fuzz", &set);
    }
    if (status == FB_OK) {
        fb_data_bytes again = fb_data_bytes_memory(data, size);
        read_samples(&set, prepare);
        (void)fb_data_parse_labels(&again, "fuzz", &set);
    }
    fb_data_set_free(&set);
}

static void fuzz_labels(uint64_t n, const uint8_t *data, size_t size)
{
    fb_data_set set;
    fb_data_set_init(&set);
    set.n = n;
    fb_data_bytes bytes = fb_data_bytes_memory(data, size);
    (void)fb_data_parse_labels(&bytes, "fuzz", &set);
    fb_data_set_free(&set);
}

static void fuzz_list(const uint8_t *data, size_t size)
{
    fb_data_set set;
    fb_data_set_init(&set);
    if (fb_data_parse_list((const char *)data, size, "fuzz", &set) == FB_OK) {
        for (uint64_t i = 0; i < set.n; i++) {
            if (strlen(fb_data_set_name(&set, i)) > size)
                abort();
        }
    }
    fb_data_set_free(&set);
}

static bool same_prep(const fb_prep *a, const fb_prep *b)
{
    bool same = strcmp(a->name, b->name) == 0 && a->resize_h == b->resize_h &&
                a->resize_w == b->resize_w && a->crop_h == b->crop_h && a->crop_w == b->crop_w &&
                a->scale == b->scale && a->order == b->order;
    for (int c = 0; c < 4; c++)
        same = same && a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
    return same;
}

static void fuzz_prep(const uint8_t *data, size_t size)
{
    char text[1024], out[512];
    size_t n = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, data, n);
    text[n] = '\0';
    fb_prep prep, back;
    if (fb_prep_parse(text, &prep) != FB_OK)
        return;
    if (fb_prep_format(&prep, out, sizeof out) != FB_OK || fb_prep_parse(out, &back) != FB_OK ||
        !same_prep(&prep, &back))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fb_data_prepare prepare;
    if (size < 2 || !make_prepare(data[1], &prepare))
        return 0;
    int reader = data[0] % 7;
    if (reader == 0)
        fuzz_image(data + 2, size - 2, &prepare);
    else if (reader <= 3)
        fuzz_array(reader, data + 2, size - 2, &prepare);
    else if (reader == 4)
        fuzz_list(data + 2, size - 2);
    else if (reader == 5)
        fuzz_prep(data + 2, size - 2);
    else
        fuzz_labels(data[1], data + 2, size - 2);
    return 0;
}
