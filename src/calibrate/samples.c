/* Calibration images, streamed or held. */
#include "calibrate/samples.h"

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"
#include "fewbit/measure.h"

#include <string.h>

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory for calibration images");
}

static fb_status measure_sample(const fb_model *model, fb_samples *s)
{
    fb_tensor_info info;
    FB_TRY(fb_model_sample_shape(model, &s->shape));
    FB_TRY(fb_data_fits(s->data, &s->shape));
    FB_TRY(fb_model_tensor(model, (uint32_t)fb_model_input(model, 0), &info));
    s->planar = info.rank == 4 && s->shape.channels > 1 && s->shape.channels <= 4 &&
                info.dims[1] == (int64_t)s->shape.channels &&
                info.dims[2] == (int64_t)s->shape.height && info.dims[3] == (int64_t)s->shape.width;
    size_t elems;
    if (!fb_size_mul(s->shape.height, s->shape.width, &elems) ||
        !fb_size_mul(elems, s->shape.channels, &elems) || elems > SIZE_MAX / 64 || elems == 0)
        return fb_fail(FB_E_LIMIT, "a sample of %u x %u x %u floats is too large", s->shape.height,
                       s->shape.width, s->shape.channels);
    s->elems = elems;
    s->one = fb_alloc(elems * sizeof *s->one);
    return s->one ? FB_OK : no_memory();
}

static fb_status read_one(fb_samples *s, float *x, int32_t *label, uint32_t *got)
{
    FB_TRY(fb_data_next(s->data, 1, s->one, label, got));
    if (*got == 0)
        return FB_OK;
    if (!s->planar) {
        memcpy(x, s->one, s->elems * sizeof *x);
        return FB_OK;
    }
    size_t area = (size_t)s->shape.height * s->shape.width, c = s->shape.channels;
    for (size_t i = 0; i < area; i++) {
        for (size_t k = 0; k < c; k++)
            x[k * area + i] = s->one[i * c + k];
    }
    return FB_OK;
}

/* Sample i is kept when the count of kept ones steps up at it. */
static fb_status hold(fb_samples *s, uint64_t keep)
{
    const size_t most_bytes = (size_t)512 << 20;
    uint64_t total = fb_data_count(s->data), room = most_bytes / (s->elems * sizeof(float));
    keep = keep < total ? keep : total;
    keep = keep < room ? keep : room > 0 ? room : 1;
    s->kept = fb_alloc((size_t)keep * s->elems * sizeof(float));
    s->labels = fb_calloc((size_t)keep, sizeof *s->labels);
    if (!s->kept || !s->labels)
        return no_memory();
    uint64_t n = 0;
    for (uint64_t i = 0; i < total && n < keep; i++) {
        uint32_t got;
        FB_TRY(read_one(s, s->kept + n * s->elems, &s->labels[n], &got));
        if (got == 0)
            break;
        if ((i + 1) * keep / total > n)
            n++;
    }
    s->count = n;
    return FB_OK;
}

fb_status fb_samples_open(const fb_model *model, fb_data *data, uint64_t keep, fb_samples *s)
{
    *s = (fb_samples){.data = data};
    fb_status status;
    FB_GO(measure_sample(model, s));
    s->count = fb_data_count(data);
    fb_data_rewind(data);
    if (keep > 0)
        FB_GO(hold(s, keep));
    if (s->count == 0) {
        status = fb_fail(FB_E_ARG, "the calibration data has 0 images; at least 1 is needed");
        goto fail;
    }
    return FB_OK;
fail:
    fb_samples_close(s);
    return status;
}

void fb_samples_close(fb_samples *s)
{
    fb_free(s->one);
    fb_free(s->kept);
    fb_free(s->labels);
    *s = (fb_samples){0};
}

static void rewind_samples(void *user)
{
    fb_samples *s = user;
    s->at = 0;
    if (!s->kept)
        fb_data_rewind(s->data);
}

static fb_status next_sample(fb_samples *s, float *x, uint32_t *got)
{
    *got = s->at < s->count;
    if (*got && s->kept)
        memcpy(x, s->kept + s->at * s->elems, s->elems * sizeof *x);
    else if (*got)
        FB_TRY(read_one(s, x, NULL, got));
    s->at += *got;
    return FB_OK;
}

static fb_status fill_run(void *user, fb_run *run, uint32_t *got)
{
    fb_samples *s = user;
    size_t bytes, one_bytes = s->elems * sizeof(float);
    char *x = fb_run_input(run, 0, &bytes);
    *got = 0;
    if (bytes == 0 || bytes % one_bytes != 0)
        return fb_fail(FB_E_ARG, "the network's input has %zu bytes, a sample %zu", bytes,
                       one_bytes);
    for (char *end = x + bytes; x < end; x += one_bytes) {
        uint32_t one;
        FB_TRY(next_sample(s, (float *)(void *)x, &one));
        *got += one;
        if (!one && *got == 0)
            break;
        if (!one)
            memcpy(x, x - one_bytes, one_bytes);
    }
    return FB_OK;
}

fb_source fb_samples_source(fb_samples *s)
{
    return (fb_source){s, s->count, rewind_samples, fill_run};
}
