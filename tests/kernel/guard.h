/* Help for kernel tests: buffers between unreadable pages, a seeded source of numbers, and the rule
 * that a row which this CPU cannot run is counted as skipped, never as passed.
 *
 *     guard_buf x = guard_new(bytes, 4, GUARD_END);   one byte past the end faults
 *     guard_buf y = guard_new(bytes, 4, GUARD_START); one byte before the start faults
 *     ... x.p ...
 *     guard_free(&x);                                 checks the slack bytes, if any
 *
 * Run each case on both sides. With GUARD_END and a size that is no multiple of `align`, up to
 * align - 1 slack bytes lie between the end and the page; they hold a pattern that guard_free
 * checks (so writes are caught there too, reads are not: pass the element size as `align`).
 */
#ifndef FB_TESTS_GUARD_H
#define FB_TESTS_GUARD_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first include (mmap's MAP_ANONYMOUS)"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

typedef enum guard_side { GUARD_START, GUARD_END, GUARD_SIDES } guard_side;

typedef struct guard_buf {
    uint8_t *p; /* `bytes` usable bytes */
    size_t bytes;
    uint8_t *map; /* the whole mapping, guard pages included */
    size_t map_bytes, page;
} guard_buf;

enum { GUARD_PATTERN = 0xA5 };

/* Content: GUARD_PATTERN everywhere. `align` is a power of two, at most a page. */
static inline guard_buf guard_new(size_t bytes, size_t align, guard_side side)
{
    guard_buf b;
    b.page = (size_t)sysconf(_SC_PAGESIZE);
    b.bytes = bytes;
    size_t body = (bytes + b.page - 1) / b.page * b.page;
    b.map_bytes = body + 2 * b.page;
    void *map = mmap(NULL, b.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        abort();
    b.map = map;
    if (mprotect(b.map, b.page, PROT_NONE) != 0 ||
        mprotect(b.map + b.page + body, b.page, PROT_NONE) != 0)
        abort();
    memset(b.map + b.page, GUARD_PATTERN, body);
    b.p = b.map + b.page;
    if (side == GUARD_END)
        b.p += (body - bytes) & ~(align - 1);
    return b;
}

/* True when no byte outside [p, p + bytes) of the body was changed. */
static inline int guard_intact(const guard_buf *b)
{
    const uint8_t *end = b->map + b->map_bytes - b->page;
    for (const uint8_t *q = b->map + b->page; q < b->p; q++)
        if (*q != GUARD_PATTERN)
            return 0;
    for (const uint8_t *q = b->p + b->bytes; q < end; q++)
        if (*q != GUARD_PATTERN)
            return 0;
    return 1;
}

static inline void guard_free(guard_buf *b)
{
    int intact = guard_intact(b);
    munmap(b->map, b->map_bytes);
    b->map = NULL;
    b->p = NULL;
    assert_true(intact);
}

/* Makes a filled buffer read-only, so that a kernel that writes its input faults. */
static inline void guard_read_only(const guard_buf *b)
{
    if (mprotect(b->map + b->page, b->map_bytes - 2 * b->page, PROT_READ) != 0 &&
        b->map_bytes > 2 * b->page)
        abort();
}

/* xorshift64*; the seed is printed once and can be set by FB_SEED. */
static uint64_t test_rng_state;

static inline uint64_t test_seed(void)
{
    const char *text = getenv("FB_SEED");
    uint64_t seed = UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)getpid();
    if (text)
        seed = strtoull(text, NULL, 0);
    if (seed == 0)
        seed = 1;
    test_rng_state = seed;
    printf("FB_SEED=0x%llx\n", (unsigned long long)seed);
    return seed;
}

static inline uint64_t test_random(void)
{
    if (test_rng_state == 0)
        test_seed();
    uint64_t x = test_rng_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    test_rng_state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* In [0, n), n > 0. */
static inline uint32_t test_below(uint32_t n)
{
    return (uint32_t)((test_random() >> 33) % n);
}

/* In [lo, hi]. */
static inline int32_t test_range(int32_t lo, int32_t hi)
{
    return lo + (int32_t)test_below((uint32_t)(hi - lo) + 1u);
}

/* In [-1, 1). */
static inline float test_float(void)
{
    return (float)((double)(test_random() >> 40) / 8388608.0 - 1.0);
}

static inline void test_fill_f32(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = test_float();
}

static inline void test_fill_bytes(void *p, size_t n)
{
    uint8_t *q = p;
    for (size_t i = 0; i < n; i++)
        q[i] = (uint8_t)(test_random() >> 56);
}

/* Rows that ran and rows that this CPU (or FEWBIT_CPU) kept from running. */
static unsigned test_rows_ran, test_rows_skipped;

static inline int test_row_usable(uint32_t needs, uint32_t usable)
{
    if ((needs & ~usable) != 0) {
        test_rows_skipped++;
        return 0;
    }
    test_rows_ran++;
    return 1;
}

/* Last line of a test program; non-zero when no row ran at all. Where the architecture has no row
 * but the reference, 77: skipped. */
static inline int test_rows_report(void)
{
    printf("%u kernel rows ran, %u skipped\n", test_rows_ran, test_rows_skipped);
    return test_rows_ran ? 0 : test_rows_skipped ? 1 : 77;
}

#endif
