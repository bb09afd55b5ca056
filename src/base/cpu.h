/* What the processor and the operating system let us use. The only code that asks the CPU. */
#ifndef FB_BASE_CPU_H
#define FB_BASE_CPU_H

#include "fewbit/run.h"

uint32_t fb_cpu_detect(void); /* before FEWBIT_CPU's mask */

#endif
