/* Samples into a model's input, outputs back into floats. */
#include "measure/feed.h"

#include "base/status.h"

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

/* One channel after the other, in pieces. */
static fb_status fill_planar(const fb_feed *feed, fb_run *run, size_t sample, const float *x)
{
    float piece[256];
    size_t c = feed->shape.channels, pixels = feed->sample / c;
    for (size_t k = 0; k < c; k++) {
        for (size_t i = 0, n; i < pixels; i += n) {
            n = pixels - i < 256 ? pixels - i : 256;
            for (size_t j = 0; j < n; j++)
                piece[j] = x[(i + j) * c + k];
            FB_TRY(fb_run_write(run, 0, sample * feed->sample + k * pixels + i, n, piece));
        }
    }
    return FB_OK;
}

fb_status fb_feed_fill(const fb_feed *feed, fb_run *run, uint32_t n, const float *x)
{
    static const float zeros[256];
    size_t used = (size_t)n * feed->sample, all = (size_t)feed->per_run * feed->sample;
    if (!feed->planar)
        FB_TRY(fb_run_write(run, 0, 0, used, x));
    for (size_t s = 0; feed->planar && s < n; s++)
        FB_TRY(fill_planar(feed, run, s, x + s * feed->sample));
    for (size_t i = used, m; i < all; i += m) {
        m = all - i < 256 ? all - i : 256;
        FB_TRY(fb_run_write(run, 0, i, m, zeros));
    }
    return FB_OK;
}
