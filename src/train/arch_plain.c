/* Chains: lenet5, vgg-small, mobilenet-tiny. */
#include "train/arch.h"

#include <math.h>
#include <stdio.h>

void fb_arch_lenet5(fb_build *b, uint32_t classes)
{
    fb_build_input(b, 28, 28, 1);
    fb_build_add_conv(b, &(fb_build_conv){.name = "conv1", .oc = 6, .k = 5, .stride = 1});
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_max_pool(b);
    fb_build_add_conv(
        b, &(fb_build_conv){.name = "conv2", .oc = 16, .k = 5, .stride = 1, .valid = true});
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_max_pool(b);
    fb_build_add_flat(b);
    fb_build_add_dense(b, "fc1", 120);
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_dense(b, "fc2", 84);
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_dense(b, "fc3", classes);
}

void fb_arch_vgg_small(fb_build *b, uint32_t classes)
{
    char name[16];
    int layer = 1;
    fb_build_input(b, 32, 32, 3);
    for (int64_t oc = 32; oc <= 128; oc *= 2) {
        for (int i = 0; i < 2; i++, layer++) {
            (void)snprintf(name, sizeof name, "conv%d", layer);
            fb_build_add_conv(
                b, &(fb_build_conv){.name = name, .oc = oc, .k = 3, .stride = 1, .norm = true});
            fb_build_add_clamp(b, INFINITY);
        }
        fb_build_add_max_pool(b);
    }
    fb_build_add_flat(b);
    fb_build_add_dense(b, "fc1", 256);
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_dense(b, "fc2", 256);
    fb_build_add_clamp(b, INFINITY);
    fb_build_add_dense(b, "fc3", classes);
}

void fb_arch_mobilenet_tiny(fb_build *b, uint32_t classes)
{
    static const struct {
        int64_t oc;
        int32_t stride;
    } blocks[] = {{32, 1}, {64, 2}, {64, 1}, {128, 2}, {128, 1}, {128, 1}, {256, 2}, {256, 1}};
    char name[24];
    fb_build_input(b, 32, 32, 3);
    fb_build_add_conv(
        b, &(fb_build_conv){.name = "conv0", .oc = 16, .k = 3, .stride = 1, .norm = true});
    fb_build_add_clamp(b, 6);
    for (int i = 0; i < 8; i++) {
        (void)snprintf(name, sizeof name, "block%d.depth", i + 1);
        fb_build_add_conv(
            b,
            &(fb_build_conv){
                .name = name, .k = 3, .stride = blocks[i].stride, .depthwise = true, .norm = true});
        fb_build_add_clamp(b, 6);
        (void)snprintf(name, sizeof name, "block%d.point", i + 1);
        fb_build_add_conv(
            b,
            &(fb_build_conv){.name = name, .oc = blocks[i].oc, .k = 1, .stride = 1, .norm = true});
        fb_build_add_clamp(b, 6);
    }
    fb_build_add_mean(b);
    fb_build_add_dense(b, "fc", classes);
}
