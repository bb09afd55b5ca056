/* The preprocessings that people mix up. */
#include "measure/why.h"

#include <string.h>

/* For networks of three colours: range and normalisation, each in both orders. */
static const char *const colours[] = {
    "imagenet", "imagenet,order=bgr", "tensorflow",     "tensorflow,order=bgr",
    "caffe",    "caffe,order=rgb",    "none,scale=255", "none,scale=255,order=bgr",
    "none",     "none,order=bgr"};

/* For all others. Arrays are taken as they are in either order, pictures in one of them. */
static const char *const grays[] = {"mnist",
                                    "tensorflow,order=gray",
                                    "none,scale=255,order=gray",
                                    "none,order=gray",
                                    "mnist,order=rgb",
                                    "tensorflow",
                                    "none,scale=255",
                                    "none"};

static void take_frame(fb_prep *to, const fb_prep *from)
{
    to->resize_h = from->resize_h;
    to->resize_w = from->resize_w;
    to->crop_h = from->crop_h;
    to->crop_w = from->crop_w;
}

uint32_t fb_why_norms(const fb_why_state *s, const fb_prep *base, bool unit,
                      fb_prep norms[FB_WHY_NORMS_MOST])
{
    bool three = s->shape.channels == 3;
    const char *const *texts = three ? colours : grays;
    size_t n = three ? sizeof colours / sizeof *colours : sizeof grays / sizeof *grays;
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        fb_prep prep;
        if (fb_prep_parse(texts[i], &prep) != FB_OK)
            continue;
        take_frame(&prep, base);
        if (unit)
            prep.scale /= 255;
        if (strcmp(prep.name, "imagenet") == 0 && !prep.resize_h && !prep.crop_h)
            memcpy(prep.name, "cifar10", sizeof "cifar10"); /* the same without a frame */
        norms[count++] = prep;
    }
    return count;
}

static void add_frame(const fb_prep *norm, uint32_t resize_h, uint32_t resize_w, uint32_t crop_h,
                      uint32_t crop_w, fb_prep frames[FB_WHY_FRAMES_MOST], uint32_t *n)
{
    fb_prep *f = &frames[*n];
    *f = *norm;
    f->resize_h = resize_h;
    f->resize_w = resize_w;
    f->crop_h = crop_h;
    f->crop_w = crop_w;
    *n += memcmp(f, norm, sizeof *f) != 0;
}

uint32_t fb_why_frames(const fb_why_state *s, const fb_prep *norm,
                       fb_prep frames[FB_WHY_FRAMES_MOST])
{
    uint32_t h = s->shape.height, w = s->shape.width, side = h > w ? h : w, n = 0;
    if (h < 2 || w < 2 || side > 8192)
        return 0;
    uint32_t wide = (uint32_t)(((uint64_t)side * 256 * 2 + 224) / (2 * 224));
    add_frame(norm, wide, 0, h, w, frames, &n); /* a border is cut off */
    add_frame(norm, side, 0, h, w, frames, &n); /* the square in the middle */
    add_frame(norm, h, w, 0, 0, frames, &n);    /* all of it, distorted */
    add_frame(norm, 0, 0, h, w, frames, &n);    /* no change of scale */
    return n;
}
