/* The kernel lists, for users. */
#include "fewbit/run.h"

#include "base/status.h"
#include "kernels/registry.h"

uint32_t fb_n_kernels(void)
{
    uint32_t n;
    (void)fbk_list(&n);
    return n;
}

fb_status fb_kernel(uint32_t i, fb_kernel_info *info)
{
    uint32_t n;
    const fbk_info *list = fbk_list(&n);
    if (i >= n)
        return fb_fail(FB_E_ARG, "kernel %u of %u does not exist", i, n);
    *info = (fb_kernel_info){list[i].name, list[i].family, list[i].cpu};
    return FB_OK;
}
