#include "kernels/prod_q.h"

static const fbk_prod_q_row rows[] = {
#define FBK(name, cpu, family) {#name, cpu, name##_plan, name##_pack, name},
#include "kernels/prod_q.inc"
#undef FBK
};

const fbk_prod_q_row *fbk_prod_q_rows(uint32_t *n)
{
    *n = (uint32_t)(sizeof rows / sizeof rows[0]);
    return rows;
}

const fbk_prod_q_row *fbk_prod_q_choose(fbk_prod_q *c, uint32_t cpu)
{
    for (size_t i = sizeof rows / sizeof rows[0]; i-- > 1;)
        if ((rows[i].cpu & ~cpu) == 0 && rows[i].plan(c))
            return &rows[i];
    (void)rows[0].plan(c);
    return &rows[0];
}
