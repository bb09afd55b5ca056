/* Look-up convolution with NEON: looked-up bytes to 16-bit sums, those to 32-bit ones, and out. As
 * many bytes are added as fit one (4 of up to 6 bits, 2 of 7). */
#ifndef FB_KERNELS_ARM_PROD_Q_SUM_H
#define FB_KERNELS_ARM_PROD_Q_SUM_H

/* 32 outputs of a pixel, in order. */
typedef struct sums16 {
    uint16x8_t v[NB / 8];
} sums16;

typedef struct sums32 {
    int32x4_t v[NB / 4];
} sums32;

/* Half h of the outputs: 16 bytes. */
static inline void add_bytes(sums16 *s, uint32_t h, uint8x16_t bytes)
{
    s->v[h * 2] = vaddw_u8(s->v[h * 2], vget_low_u8(bytes));
    s->v[h * 2 + 1] = vaddw_high_u8(s->v[h * 2 + 1], bytes);
}

static inline void widen(const sums16 *s, sums32 *to)
{
    for (uint32_t j = 0; j < NB / 8; j++) {
        uint16x8_t v = s->v[j];
        int32x4_t *t = to->v + j * 2;
        t[0] = vreinterpretq_s32_u32(vaddw_u16(vreinterpretq_u32_s32(t[0]), vget_low_u16(v)));
        t[1] = vreinterpretq_s32_u32(vaddw_high_u16(vreinterpretq_u32_s32(t[1]), v));
    }
}

static inline void finish(const micro *m, const micro_block *k, const sums32 *s, size_t at)
{
    for (uint32_t done = 0; done < k->n; done += 16)
        simd_q_finish(&m->out, k->scale + done, s->v + done / 4, m->y, at + done,
                      k->n - done < 16 ? k->n - done : 16);
}

#endif
