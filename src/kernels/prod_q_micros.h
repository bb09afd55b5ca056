/* The micro-kernels of a look-up row with tiles of up to MR = 4 pixels: micro_kernel for each
 * number of pixels and of 8-bit entries that are added before they are widened. Included by the
 * rows. */
#ifndef FB_KERNELS_PROD_Q_MICROS_H
#define FB_KERNELS_PROD_Q_MICROS_H

#define MICRO(mr, sum_of)                                                                          \
    static void micro_##mr##_##sum_of(const micro *m, const micro_block *k,                        \
                                      const uint8_t *const *x, size_t at)                          \
    {                                                                                              \
        micro_kernel(m, k, x, at, mr, sum_of);                                                     \
    }
#define MICROS(sum_of) MICRO(1, sum_of) MICRO(2, sum_of) MICRO(3, sum_of) MICRO(4, sum_of)
MICROS(1)
MICROS(2)
MICROS(4)

static micro_fn *const *micros_of(const fbk_prod_q *c)
{
    static micro_fn *const micros[][MR + 1] = {
        {NULL, micro_1_1, micro_2_1, micro_3_1, micro_4_1},
        {NULL, micro_1_2, micro_2_2, micro_3_2, micro_4_2},
        {NULL, micro_1_4, micro_2_4, micro_3_4, micro_4_4},
    };
    return micros[c->table_bits <= 6 ? 2 : c->table_bits == 7 ? 1 : 0];
}

#endif
