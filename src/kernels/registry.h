/* Kernels know arrays, not graphs. Each family has a list, kernels/<family>.inc, of lines
 *
 *     FBK(symbol, cpu bits, ...family's own columns)
 *
 * worst (reference, cpu 0) first. From that one line come the declaration, the row in the family's
 * dispatch table, its test, its benchmark and its line in `fewbit info --kernels`. A row may be used
 * when its cpu bits are within the plan's mask. Rows of one architecture stand between
 * #if FB_X86 / #if FB_ARM64 and #endif; their files (x86/, arm/) alone get that ISA's compile flags.
 */
#ifndef FB_KERNELS_REGISTRY_H
#define FB_KERNELS_REGISTRY_H

#include <stdint.h>

#if defined(__x86_64__)
#define FB_X86 1
#else
#define FB_X86 0
#endif
#if defined(__aarch64__)
#define FB_ARM64 1
#else
#define FB_ARM64 0
#endif

typedef struct fbk_info {
    const char *name;   /* symbol */
    const char *family; /* name of its .inc */
    uint32_t cpu;       /* FB_CPU_... bits it needs; 0 = reference */
} fbk_info;

/* Every kernel in this binary, family by family. */
const fbk_info *fbk_list(uint32_t *n);

#endif
