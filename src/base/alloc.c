#include "base/alloc.h"

#include "base/size.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t fail_countdown; /* 0 = off; 1 = every allocation fails */

void fb_alloc_fail_from(size_t n)
{
    atomic_store(&fail_countdown, n);
}

static int test_says_no(void)
{
    size_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (left == 0)
        return 0;
    if (left == 1)
        return 1;
    atomic_store(&fail_countdown, left - 1);
    return 0;
}

void *fb_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX - FB_ALIGN || test_says_no())
        return NULL;
    return aligned_alloc(FB_ALIGN, fb_round_up(bytes ? bytes : 1, FB_ALIGN));
}

void *fb_calloc(size_t n, size_t bytes)
{
    size_t total;
    if (!fb_size_mul(n, bytes, &total))
        return NULL;
    void *p = fb_alloc(total);
    if (p)
        memset(p, 0, total);
    return p;
}

void fb_free(void *p)
{
    free(p);
}

int fb_grow(void **items, size_t *cap, size_t need, size_t elem_bytes)
{
    if (need <= *cap)
        return 1;
    size_t want = *cap ? *cap : 8;
    while (want < need) {
        if (!fb_size_mul(want, 2, &want))
            return 0;
    }
    size_t bytes;
    if (!fb_size_mul(want, elem_bytes, &bytes))
        return 0;
    void *p = fb_alloc(bytes);
    if (!p)
        return 0;
    if (*items)
        memcpy(p, *items, *cap * elem_bytes);
    fb_free(*items);
    *items = p;
    *cap = want;
    return 1;
}

typedef struct block {
    struct block *next;
    size_t used, cap;
} block;

struct fb_arena {
    block *head;
    size_t bytes;
};

enum { HEADER = 64, MIN_BLOCK = 16384 };

fb_arena *fb_arena_create(void)
{
    return fb_calloc(1, sizeof(fb_arena));
}

void fb_arena_destroy(fb_arena *arena)
{
    if (!arena)
        return;
    for (block *b = arena->head; b;) {
        block *next = b->next;
        fb_free(b);
        b = next;
    }
    fb_free(arena);
}

void *fb_arena_alloc(fb_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t need = fb_round_up(bytes ? bytes : 1, FB_ALIGN);
    block *b = arena->head;
    if (!b || b->cap - b->used < need) {
        size_t cap = need > MIN_BLOCK ? need : MIN_BLOCK;
        b = fb_alloc(HEADER + cap);
        if (!b)
            return NULL;
        b->used = 0;
        b->cap = cap;
        /* A large block goes behind the head, so that the head's free room stays in use. */
        if (arena->head && need > MIN_BLOCK / 4) {
            b->next = arena->head->next;
            arena->head->next = b;
        } else {
            b->next = arena->head;
            arena->head = b;
        }
    }
    void *p = (char *)b + HEADER + b->used;
    b->used += need;
    arena->bytes += need;
    memset(p, 0, need);
    return p;
}

void *fb_arena_array(fb_arena *arena, size_t n, size_t bytes)
{
    size_t total;
    return fb_size_mul(n, bytes, &total) ? fb_arena_alloc(arena, total) : NULL;
}

char *fb_arena_string_n(fb_arena *arena, const char *text, size_t n)
{
    char *copy = n < SIZE_MAX ? fb_arena_alloc(arena, n + 1) : NULL;
    if (copy && n)
        memcpy(copy, text, n);
    return copy;
}

char *fb_arena_string(fb_arena *arena, const char *text)
{
    return fb_arena_string_n(arena, text, strlen(text));
}

size_t fb_arena_bytes(const fb_arena *arena)
{
    return arena->bytes;
}
