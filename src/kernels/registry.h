/* Kernels know arrays, not graphs. Each family has a list, kernels/<family>.inc, of lines
 *
 *     FBK(symbol, cpu bits, ...family's own columns)
 *
 * worst (reference, cpu 0) first. From that one line come the declaration, the row in the family's
 * dispatch table, its test, its benchmark and its line in `fewbit info --kernels`. A row may be
 * used when its cpu bits are within the plan's mask. Rows of one architecture stand between #if
 * FB_X86 / #if FB_ARM64 and #endif; their files (x86/, arm/) alone get that ISA's compile flags.
 */
#ifndef FB_KERNELS_REGISTRY_H
#define FB_KERNELS_REGISTRY_H

#include "fewbit/fewbit.h"

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
    const char *family; /* what it computes: rows of one family are interchangeable */
    uint32_t cpu;       /* FB_CPU_... bits it needs; 0 = reference */
} fbk_info;

/* Every kernel in this binary, family by family. */
const fbk_info *fbk_list(uint32_t *n);

typedef void fbk_fn(void);

/* The best (last) row of a family whose cpu bits are within `cpu`, and its symbol; NULL when there
 * is none. Callers use the typed form that FBK_PICK makes. */
fbk_fn *fbk_pick(const char *family, uint32_t cpu, const char **name);

/* Defines `fbk_<family>_fn *fbk_<family>_pick(cpu, &name)`; name may be NULL. The list's
 * declaration of each row by the family's function type is what makes the cast sound. */
#define FBK_PICK(family)                                                                           \
    static inline fbk_##family##_fn *fbk_##family##_pick(uint32_t cpu, const char **name)          \
    {                                                                                              \
        return (fbk_##family##_fn *)fbk_pick(#family, cpu, name);                                  \
    }

#endif
