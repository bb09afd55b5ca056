/* Residual networks for 32x32 images (He et al. 2015, section 4.2): 6 n + 2 layers. */
#include "train/arch.h"

#include <math.h>
#include <stdio.h>

static void add_block(fb_build *b, int group, int block, int64_t oc, int32_t stride)
{
    char name[40];
    int32_t skip = b->x;
    (void)snprintf(name, sizeof name, "layer%d.%d.conv1", group, block);
    fb_build_add_conv(
        b, &(fb_build_conv){.name = name, .oc = oc, .k = 3, .stride = stride, .norm = true});
    fb_build_add_clamp(b, INFINITY);
    (void)snprintf(name, sizeof name, "layer%d.%d.conv2", group, block);
    fb_build_add_conv(b,
                      &(fb_build_conv){.name = name, .oc = oc, .k = 3, .stride = 1, .norm = true});
    if (stride != 1) {
        int32_t main = b->x;
        b->x = skip;
        (void)snprintf(name, sizeof name, "layer%d.%d.shortcut", group, block);
        fb_build_add_conv(
            b, &(fb_build_conv){.name = name, .oc = oc, .k = 1, .stride = stride, .norm = true});
        skip = b->x;
        b->x = main;
    }
    fb_build_add_sum(b, skip);
    fb_build_add_clamp(b, INFINITY);
}

static void resnet(fb_build *b, int n, uint32_t classes)
{
    fb_build_input(b, 32, 32, 3);
    fb_build_add_conv(
        b, &(fb_build_conv){.name = "conv1", .oc = 16, .k = 3, .stride = 1, .norm = true});
    fb_build_add_clamp(b, INFINITY);
    for (int group = 1; group <= 3; group++) {
        for (int block = 0; block < n; block++)
            add_block(b, group, block, 8 << group, group > 1 && block == 0 ? 2 : 1);
    }
    fb_build_add_mean(b);
    fb_build_add_dense(b, "fc", classes);
}

void fb_arch_resnet8(fb_build *b, uint32_t classes)
{
    resnet(b, 1, classes);
}

void fb_arch_resnet20(fb_build *b, uint32_t classes)
{
    resnet(b, 3, classes);
}
