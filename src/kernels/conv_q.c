#include "kernels/conv_q.h"

#include <string.h>

enum { TABLE = 16, LEAST_TAPS = 64 /* of a channel with a table of 16 bytes */ };

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

/* The values of w [n] as a table; false when they are more than 16 or need more than 8 bits. */
static bool table_of(const int16_t *w, size_t n, int8_t table[TABLE])
{
    bool seen[256] = {false};
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i] < -128 || w[i] > 127)
            return false;
        if (seen[w[i] + 128])
            continue;
        seen[w[i] + 128] = true;
        if (++count > TABLE)
            return false;
    }
    uint32_t at = 0;
    for (int32_t v = -128; v <= 127; v++)
        if (seen[v + 128])
            table[at++] = (int8_t)v;
    memset(table + at, table[at - 1], TABLE - at);
    return true;
}

void fbk_conv_q_values(fbk_conv_q *c, const int16_t *w, int8_t *room)
{
    size_t taps = (size_t)c->kh * c->kw * (c->ic / c->groups);
    c->n_tables = 0;
    c->values = room;
    if (table_of(w, c->oc * taps, room)) {
        c->n_tables = 1;
        return;
    }
    if (taps < LEAST_TAPS)
        return;
    for (uint32_t o = 0; o < c->oc; o++)
        if (!table_of(w + o * taps, taps, room + (size_t)o * TABLE))
            return;
    c->n_tables = c->oc;
}
