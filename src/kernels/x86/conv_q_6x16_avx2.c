/* Integer convolution and dense layers on AVX2, weights of 8 bits or (c->wide) 16. */
#include "kernels/x86/conv_q_stage_avx2.h"

#define KERNEL(suffix) fbk_conv_q_6x16_avx2##suffix
#define TAKES_WIDE     1
#define FEW            0
#include "kernels/x86/conv_q_6x16.h"
