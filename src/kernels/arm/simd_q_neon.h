/* What the integer NEON kernels share: from 16 sums to 16 codes or floats. */
#ifndef FB_KERNELS_SIMD_Q_NEON_H
#define FB_KERNELS_SIMD_Q_NEON_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct simd_q_out {
    bool f32_out;
    float lo, hi; /* clamp before rounding: y_lo - y_zero, y_hi - y_zero; or the activation's */
    int16_t zero;
} simd_q_out;

static inline float32x4_t simd_q_scaled(const simd_q_out *m, const float *scale, int32x4_t sums)
{
    float32x4_t f = vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(scale));
    return vminnmq_f32(vmaxnmq_f32(f, vdupq_n_f32(m->lo)), vdupq_n_f32(m->hi));
}

/* 8 channels, to the low byte of a code, signed or not. */
static inline uint8x8_t simd_q_codes(const simd_q_out *m, const float *scale, const int32x4_t *sums)
{
    int32x4_t v0 = vcvtnq_s32_f32(simd_q_scaled(m, scale, sums[0]));
    int32x4_t v1 = vcvtnq_s32_f32(simd_q_scaled(m, scale + 4, sums[1]));
    int16x8_t q = vaddq_s16(vcombine_s16(vmovn_s32(v0), vmovn_s32(v1)), vdupq_n_s16(m->zero));
    return vmovn_u16(vreinterpretq_u16_s16(q));
}

/* Sums of 16 channels to y[at .. at + n), codes or floats, n <= 16; scale [16]. */
static inline void simd_q_finish(const simd_q_out *m, const float *scale, const int32x4_t sums[4],
                                 void *y, size_t at, uint32_t n)
{
    if (m->f32_out) {
        float rest[16];
        for (uint32_t j = 0; j < 4; j++)
            vst1q_f32(rest + j * 4, simd_q_scaled(m, scale + j * 4, sums[j]));
        memcpy((float *)y + at, rest, n * sizeof *rest);
        return;
    }
    uint8x16_t codes =
        vcombine_u8(simd_q_codes(m, scale, sums), simd_q_codes(m, scale + 8, sums + 2));
    if (n == 16) {
        vst1q_u8((uint8_t *)y + at, codes);
    } else {
        uint8_t rest[16];
        vst1q_u8(rest, codes);
        memcpy((uint8_t *)y + at, rest, n);
    }
}

#endif
