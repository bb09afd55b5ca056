/* Look-up convolution with AVX-512: sums to outputs. */
#ifndef FB_KERNELS_PROD_Q_OUT_VBMI_H
#define FB_KERNELS_PROD_Q_OUT_VBMI_H

/* n channels, 16 of them where n is more. */
static inline void finish_half(const micro *m, const float *scale, __m512i s, size_t at, uint32_t n)
{
    __m256i lo = _mm512_castsi512_si256(s), hi = _mm512_extracti64x4_epi64(s, 1);
    if (n >= 16)
        simd_q_store(&m->out, scale, lo, hi, m->y, at);
    else
        simd_q_finish(&m->out, scale, lo, hi, m->y, at, n);
}

#endif
