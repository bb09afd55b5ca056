/* Samples into a model's input, outputs back into floats. */
#include "measure/feed.h"

#include "base/status.h"
#include "numeric/half.h"

#include <math.h>
#include <string.h>

void fb_measure_options_default(fb_measure_options *options)
{
    *options = (fb_measure_options){.cpu = fb_cpu_usable(), .batch = 1, .seed = 1};
}

/* Channels of an image: gray, gray with alpha, RGB, RGBA. */
static bool like_channels(int64_t dim)
{
    return dim >= 1 && dim <= 4;
}

/* A rank-4 input that the importer had to leave channels first. */
static bool is_planar(const fb_tensor_info *t)
{
    return t->rank == 4 && !t->source_nchw && like_channels(t->dims[1]) &&
           !like_channels(t->dims[3]);
}

static fb_status only_input(const fb_model *model, fb_tensor_info *info)
{
    uint32_t n = fb_model_n_inputs(model);
    if (n != 1)
        return fb_fail(FB_E_UNSUPPORTED, "the model has %u inputs, and images can fill only one",
                       n);
    FB_TRY(fb_model_tensor(model, (uint32_t)fb_model_input(model, 0), info));
    if (info->dtype != FB_F32)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' holds %s, and images are f32", info->name,
                       fb_dtype_name(info->dtype));
    for (uint32_t i = 1; i < info->rank; i++) {
        if (info->dims[i] < 1 || info->dims[i] > UINT32_MAX)
            return fb_fail(FB_E_UNSUPPORTED,
                           "dim %u of input '%s' depends on the batch, and only the first may", i,
                           info->name);
    }
    if (info->rank > 0 && info->dims[0] < -1)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' takes %lld rows for one sample", info->name,
                       (long long)-info->dims[0]);
    return FB_OK;
}

fb_status fb_model_sample_shape(const fb_model *model, fb_sample_shape *shape)
{
    fb_tensor_info t;
    FB_TRY(only_input(model, &t));
    if (t.rank == 4) {
        bool planar = is_planar(&t);
        *shape = (fb_sample_shape){.height = (uint32_t)t.dims[planar ? 2 : 1],
                                   .width = (uint32_t)t.dims[planar ? 3 : 2],
                                   .channels = (uint32_t)t.dims[planar ? 1 : 3],
                                   .source_nchw = planar || t.source_nchw};
        return FB_OK;
    }
    uint64_t elems = 1;
    for (uint32_t i = 1; i < t.rank; i++) {
        elems *= (uint64_t)t.dims[i];
        if (elems > UINT32_MAX)
            return fb_fail(FB_E_LIMIT, "input '%s' is too large for one sample", t.name);
    }
    *shape = (fb_sample_shape){.height = 1, .width = 1, .channels = (uint32_t)elems};
    return FB_OK;
}

fb_status fb_feed_init(fb_feed *feed, const fb_model *model, const fb_run *run)
{
    fb_tensor_info t;
    fb_view view;
    *feed = (fb_feed){.per_run = 1};
    FB_TRY(fb_model_sample_shape(model, &feed->shape));
    FB_TRY(only_input(model, &t));
    FB_TRY(fb_run_tensor(run, fb_model_input(model, 0), &view));
    feed->planar = is_planar(&t);
    feed->sample = (size_t)feed->shape.height * feed->shape.width * feed->shape.channels;
    if (feed->sample == 0 || view.n_elems % feed->sample != 0 || view.n_elems == 0)
        return fb_fail(FB_E_INTERNAL,
                       "input '%s' holds %zu elements, which is not a number of "
                       "samples of %zu",
                       t.name, view.n_elems, feed->sample);
    feed->per_run = (uint32_t)(view.n_elems / feed->sample);
    return FB_OK;
}

static float clamp_code(float q, float lo, float hi)
{
    return q < lo ? lo : q > hi ? hi : q;
}

/* One element, encoded as the input is. */
static void put(const fb_view *view, size_t at, float value)
{
    if (view->dtype == FB_F32) {
        ((float *)(uintptr_t)view->data)[at] = value;
        return;
    }
    float q = rintf(value / view->scale) + (float)view->zero;
    if (isnan(q))
        q = (float)view->zero;
    switch (view->dtype) {
    case FB_U8:
        ((uint8_t *)(uintptr_t)view->data)[at] = (uint8_t)clamp_code(q, 0, 255);
        break;
    case FB_S8:
        ((int8_t *)(uintptr_t)view->data)[at] = (int8_t)clamp_code(q, -128, 127);
        break;
    case FB_U16:
        ((uint16_t *)(uintptr_t)view->data)[at] = (uint16_t)clamp_code(q, 0, 65535);
        break;
    default:
        ((int16_t *)(uintptr_t)view->data)[at] = (int16_t)clamp_code(q, -32768, 32767);
        break;
    }
}

void fb_feed_fill(const fb_feed *feed, fb_run *run, const fb_view *input, uint32_t n,
                  const float *x)
{
    size_t bytes, used = (size_t)n * feed->sample;
    void *to = fb_run_input(run, 0, &bytes);
    if (input->dtype == FB_F32 && !feed->planar) {
        memcpy(to, x, used * sizeof *x);
        memset((char *)to + used * sizeof *x, 0, bytes - used * sizeof *x);
        return;
    }
    size_t c = feed->shape.channels, pixels = feed->sample / c;
    for (size_t s = 0; s < n; s++) {
        const float *from = x + s * feed->sample;
        for (size_t i = 0; i < feed->sample; i++) {
            size_t at = feed->planar ? i % c * pixels + i / c : i;
            put(input, s * feed->sample + at, from[i]);
        }
    }
    for (size_t i = used; i < input->n_elems; i++)
        put(input, i, 0);
}

static double element(const fb_view *view, size_t i)
{
    const void *p = view->data;
    switch (view->dtype) {
    case FB_F32:
        return (double)((const float *)p)[i];
    case FB_U8:
    case FB_BOOL:
        return ((const uint8_t *)p)[i];
    case FB_S8:
        return ((const int8_t *)p)[i];
    case FB_U16:
        return ((const uint16_t *)p)[i];
    case FB_S16:
        return ((const int16_t *)p)[i];
    case FB_S32:
        return ((const int32_t *)p)[i];
    case FB_U32:
        return ((const uint32_t *)p)[i];
    case FB_S64:
        return (double)((const int64_t *)p)[i];
    case FB_U64:
        return (double)((const uint64_t *)p)[i];
    case FB_F64:
        return ((const double *)p)[i];
    case FB_F16:
        return (double)fb_f16_to_f32(((const uint16_t *)p)[i]);
    case FB_BF16:
        return (double)fb_bf16_to_f32(((const uint16_t *)p)[i]);
    }
    return 0;
}

void fb_view_read(const fb_view *view, size_t from, size_t n, float *out)
{
    if (view->dtype == FB_F32) {
        memcpy(out, (const float *)view->data + from, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((element(view, from + i) - view->zero) * (double)view->scale);
}
