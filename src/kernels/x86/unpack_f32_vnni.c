/* Panels of codes to panels of floats with AVX-512VL, where one permutation looks up 16 floats. */
#include <immintrin.h>

#define KERNEL          fbk_unpack_f32_vnni
#define FEW_ARITH_FIRST 0
/* lo and hi are a table of 16, index the low 4 bits of each lane. */
#define FEW_LOOKUP16(lo, hi, index) _mm256_permutex2var_ps(lo, index, hi)
#include "kernels/x86/unpack_f32.h"
