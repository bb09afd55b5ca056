#include "base/cpu.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bit;
} names[] = {{"ref", 0},
             {"avx2", FB_CPU_AVX2},
             {"neon", FB_CPU_NEON},
             {"vnni", FB_CPU_VNNI},
             {"vbmi", FB_CPU_VBMI}};

uint32_t fb_cpu_detect(void)
{
    uint32_t usable = 0;
#if defined(__x86_64__)
    /* These builtins also check that the operating system saves the wide registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        usable |= FB_CPU_AVX2;
    if ((usable & FB_CPU_AVX2) && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        usable |= FB_CPU_VNNI;
    if ((usable & FB_CPU_VNNI) && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vbmi"))
        usable |= FB_CPU_VBMI;
#elif defined(__aarch64__)
    usable |= FB_CPU_NEON;
#endif
    return usable;
}

const char *fb_cpu_name(uint32_t bit)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].bit == bit)
            return names[i].name;
    }
    return "?";
}

fb_status fb_cpu_parse(const char *text, uint32_t *mask)
{
    uint32_t bits = 0;
    for (const char *p = text;;) {
        size_t n = strcspn(p, ",");
        bool known = n == 3 && strncmp(p, "all", 3) == 0;
        if (known)
            bits = FB_CPU_ALL;
        for (size_t i = 0; !known && i < sizeof names / sizeof names[0]; i++) {
            if (strlen(names[i].name) == n && strncmp(p, names[i].name, n) == 0) {
                bits |= names[i].bit;
                known = true;
            }
        }
        if (!known)
            return fb_fail(FB_E_ARG,
                           "CPU level '%.*s' is not one of ref, avx2, vnni, vbmi, neon, all",
                           n > 64 ? 64 : (int)n, p);
        if (p[n] == '\0')
            break;
        p += n + 1;
    }
    *mask = bits;
    return FB_OK;
}

uint32_t fb_cpu_usable(void)
{
    uint32_t usable = fb_cpu_detect();
    const char *text = getenv("FEWBIT_CPU");
    uint32_t mask;
    if (text && *text && fb_cpu_parse(text, &mask) == FB_OK)
        usable &= mask;
    return usable;
}
