/* Building named architectures. A builder appends layers to the end of a chain; weights are zeros,
 * batch norms the identity. */
#ifndef FB_TRAIN_ARCH_H
#define FB_TRAIN_ARCH_H

#include "base/status.h"
#include "model/model.h"

typedef struct fb_build {
    fb_model *m;
    int32_t x;        /* tensor at the end of the chain */
    fb_status status; /* the first failure; later calls do nothing */
} fb_build;

typedef struct fb_build_conv {
    const char *name;
    int64_t oc, k; /* k x k, padded by k / 2 on all sides, or, if `valid`, not at all */
    int32_t stride;
    bool valid;
    bool depthwise; /* oc is then ignored */
    bool norm;      /* batch norm in place of a bias */
} fb_build_conv;

void fb_build_input(fb_build *b, int64_t h, int64_t w, int64_t c);
void fb_build_add_conv(fb_build *b, const fb_build_conv *c);
void fb_build_add_dense(fb_build *b, const char *name, int64_t n);
void fb_build_add_clamp(fb_build *b, float hi); /* [0, hi]; INFINITY: ReLU */
void fb_build_add_max_pool(fb_build *b);        /* 2x2, stride 2 */
void fb_build_add_mean(fb_build *b);            /* over height and width */
void fb_build_add_flat(fb_build *b);            /* [n][everything] */
void fb_build_add_sum(fb_build *b, int32_t other);

/* The architectures, each from an empty build to its logits. */
void fb_arch_lenet5(fb_build *b, uint32_t classes);
void fb_arch_resnet8(fb_build *b, uint32_t classes);
void fb_arch_resnet20(fb_build *b, uint32_t classes);
void fb_arch_vgg_small(fb_build *b, uint32_t classes);
void fb_arch_mobilenet_tiny(fb_build *b, uint32_t classes);

#endif
