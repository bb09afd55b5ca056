/* The table of all kernels, made from the lists. A new list is included twice below. */
#include "kernels/registry.h"

#include "kernels/any.h"
#include "kernels/conv_f32.h"
#include "kernels/conv_fx.h"
#include "kernels/conv_q.h"
#include "kernels/few_f32.h"
#include "kernels/gemm_f32.h"
#include "kernels/igemm_f32.h"
#include "kernels/norm_f32.h"
#include "kernels/pack_q.h"
#include "kernels/point_f32.h"
#include "kernels/point_q.h"
#include "kernels/pool_f32.h"
#include "kernels/pool_q.h"
#include "kernels/prod_q.h"
#include "kernels/sparse_f32.h"

#include <string.h>

/* Lists whose rows are FBK(symbol, cpu, family). */
static const fbk_info infos[] = {
#define FBK(symbol, cpu, family) {#symbol, #family, cpu},
#include "kernels/any.inc"
#include "kernels/conv_f32.inc"
#include "kernels/conv_fx.inc"
#include "kernels/conv_q.inc"
#include "kernels/few_f32.inc"
#include "kernels/gemm_f32.inc"
#include "kernels/igemm_f32.inc"
#include "kernels/norm_f32.inc"
#include "kernels/pack_q.inc"
#include "kernels/point_f32.inc"
#include "kernels/point_q.inc"
#include "kernels/pool_f32.inc"
#include "kernels/pool_q.inc"
#include "kernels/prod_q.inc"
#include "kernels/sparse_f32.inc"
#undef FBK
};

static fbk_fn *const fns[] = {
#define FBK(symbol, cpu, family) (fbk_fn *)symbol,
#include "kernels/any.inc"
#include "kernels/conv_f32.inc"
#include "kernels/conv_fx.inc"
#include "kernels/conv_q.inc"
#include "kernels/few_f32.inc"
#include "kernels/gemm_f32.inc"
#include "kernels/igemm_f32.inc"
#include "kernels/norm_f32.inc"
#include "kernels/pack_q.inc"
#include "kernels/point_f32.inc"
#include "kernels/point_q.inc"
#include "kernels/pool_f32.inc"
#include "kernels/pool_q.inc"
#include "kernels/prod_q.inc"
#include "kernels/sparse_f32.inc"
#undef FBK
};

const fbk_info *fbk_list(uint32_t *n)
{
    *n = (uint32_t)(sizeof infos / sizeof infos[0]);
    return infos;
}

fbk_fn *fbk_pick(const char *family, uint32_t cpu, const char **name)
{
    uint32_t n;
    const fbk_info *list = fbk_list(&n);
    for (uint32_t i = n; i-- > 0;) {
        if ((list[i].cpu & ~cpu) == 0 && strcmp(list[i].family, family) == 0) {
            if (name)
                *name = list[i].name;
            return fns[i];
        }
    }
    return NULL;
}
