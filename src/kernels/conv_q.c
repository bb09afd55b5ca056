#include "kernels/conv_q.h"

static const fbk_conv_q_row rows[] = {
#define FBK(name, cpu, family) {#name, cpu, name##_plan, name##_pack, name},
#include "kernels/conv_q.inc"
#undef FBK
};

const fbk_conv_q_row *fbk_conv_q_rows(uint32_t *n)
{
    *n = (uint32_t)(sizeof rows / sizeof rows[0]);
    return rows;
}

const fbk_conv_q_row *fbk_conv_q_choose(fbk_conv_q *c, uint32_t cpu, bool wide)
{
    for (size_t i = sizeof rows / sizeof rows[0]; i-- > 1;)
        if ((rows[i].cpu & ~cpu) == 0 && rows[i].plan(c, wide))
            return &rows[i];
    (void)rows[0].plan(c, wide);
    return &rows[0];
}
