/* Integer convolution and dense layers on CPUs with VNNI, weights of at most 16 values packed in 2
 * or 4 bits. */
#include "kernels/x86/conv_q_stage_vnni.h"

#define KERNEL(suffix) fbk_conv_q_few_6x16_vnni##suffix
#define TAKES_WIDE     0
#define FEW            1
#include "kernels/x86/conv_q_6x16.h"
