/* Weights of the 6 x 16 integer convolution (conv_q_6x16.h, which includes this) that lie in memory
 * as the micro-kernel takes them: s8, or s16 where the layer is wide. */

static bool weights_plan(fbk_conv_q *c, const layout *l)
{
    (void)c;
    (void)l;
    return true;
}

static size_t weights_bytes(const fbk_conv_q *c, const layout *l)
{
    return (size_t)c->oc_blocks * l->block_elems * (c->wide ? 2 : 1);
}

static size_t weights_scratch_bytes(const layout *l)
{
    (void)l;
    return 0;
}

/* Channel j of block b: w [taps]. `to` is zero before. */
static void weights_pack(const fbk_conv_q *c, const layout *l, const int16_t *w, uint32_t o,
                         uint32_t b, uint32_t j, void *to)
{
    (void)o;
    for (size_t t = 0; t < (size_t)l->runs * l->run_len; t++) {
        size_t at = b * l->block_elems +
                    (t / l->run_len * l->units + t % l->run_len / UNIT) * UNIT * NR + j * UNIT +
                    t % l->run_len % UNIT;
        if (c->wide)
            ((int16_t *)to)[at] = w[t];
        else
            ((int8_t *)to)[at] = (int8_t)w[t];
    }
}

static const void *weights_of(const fbk_conv_q *c, const layout *l, const void *w, uint32_t block,
                              void *scratch)
{
    (void)scratch;
    return (const char *)w + block * l->block_elems * (c->wide ? 2 : 1);
}
