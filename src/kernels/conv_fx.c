#include "kernels/conv_fx.h"

#include <stdlib.h>

static const fbk_conv_fx_row rows[] = {
#define FBK(name, cpu, family) {#name, cpu, name##_plan, name##_pack, name},
#include "kernels/conv_fx.inc"
#undef FBK
};

const fbk_conv_fx_row *fbk_conv_fx_rows(uint32_t *n)
{
    *n = (uint32_t)(sizeof rows / sizeof rows[0]);
    return rows;
}

const fbk_conv_fx_row *fbk_conv_fx_choose(fbk_conv_fx *c, uint32_t cpu)
{
    for (size_t i = sizeof rows / sizeof rows[0]; i-- > 1;)
        if ((rows[i].cpu & ~cpu) == 0 && rows[i].plan(c))
            return &rows[i];
    (void)rows[0].plan(c);
    return &rows[0];
}

void fbk_conv_fx_prove(fbk_conv_fx *c, const fbk_fx_weights *w)
{
    size_t taps = (size_t)c->kh * c->kw * (c->ic / c->groups);
    bool is_signed = c->x_type == FB_S8 || c->x_type == FB_S16;
    int64_t most_x = is_signed ? (int64_t)1 << (c->x_bits - 1) : ((int64_t)1 << c->x_bits) - 1;
    c->reach = 0;
    c->w_least = c->w_most = 0;
    c->shift_lo = c->shift_hi = w->shift ? w->shift[0] : 0;
    for (uint32_t o = 0; o < c->oc; o++) {
        const int16_t *q = w->w + o * taps;
        int64_t sum = 0; /* below 2^47: fewer than 2^32 taps */
        for (size_t i = 0; i < taps; i++) {
            sum += abs(q[i]);
            c->w_least = q[i] < c->w_least ? q[i] : c->w_least;
            c->w_most = q[i] > c->w_most ? q[i] : c->w_most;
        }
        int64_t reach = sum * most_x + llabs((int64_t)w->bias[o]);
        c->reach = reach > c->reach ? reach : c->reach;
        if (w->shift) {
            c->shift_lo = w->shift[o] < c->shift_lo ? w->shift[o] : c->shift_lo;
            c->shift_hi = w->shift[o] > c->shift_hi ? w->shift[o] : c->shift_hi;
        }
    }
}
