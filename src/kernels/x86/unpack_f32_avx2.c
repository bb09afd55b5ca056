/* Panels of codes to panels of floats on AVX2. A permutation looks up 8 floats only, so that 16
 * take two and a choice; where codes are affine, shifting them is cheaper. */
#include <immintrin.h>

#define KERNEL          fbk_unpack_f32_avx2
#define FEW_ARITH_FIRST 1
/* lo and hi are a table of 16, index the low 4 bits of each lane: bit 3 chooses. */
#define FEW_LOOKUP16(lo, hi, index)                                                                \
    _mm256_blendv_ps(_mm256_permutevar8x32_ps(lo, index), _mm256_permutevar8x32_ps(hi, index),     \
                     _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)))
#include "kernels/x86/unpack_f32.h"
