/* Memory: 64-byte aligned blocks, and arenas that free everything they gave at once. */
#ifndef FB_BASE_ALLOC_H
#define FB_BASE_ALLOC_H

#include <stddef.h>

#define FB_ALIGN 64u

/* NULL when there is no memory (no sentence is left; callers say what they wanted). fb_alloc(0)
 * gives a valid pointer. */
void *fb_alloc(size_t bytes);
void *fb_calloc(size_t n, size_t bytes); /* zeroed; NULL also when n * bytes overflows */
void fb_free(void *p);

/* Growable arrays: makes room for `need` elements of `elem_bytes`, doubling. False (array intact)
 * when memory is short. *items must come from fb_grow or be NULL with *cap 0; fb_free frees it. */
int fb_grow(void **items, size_t *cap, size_t need, size_t elem_bytes);

/* Everything taken from an arena lives until fb_arena_destroy. */
typedef struct fb_arena fb_arena;
fb_arena *fb_arena_create(void);
void fb_arena_destroy(fb_arena *arena);                        /* NULL is fine */
void *fb_arena_alloc(fb_arena *arena, size_t bytes);           /* zeroed, 64-byte aligned */
void *fb_arena_array(fb_arena *arena, size_t n, size_t bytes); /* zeroed; NULL on overflow */
char *fb_arena_string(fb_arena *arena, const char *text);
char *fb_arena_string_n(fb_arena *arena, const char *text, size_t n);
size_t fb_arena_bytes(const fb_arena *arena); /* handed out so far */

/* For tests: the n-th allocation from now on fails, and all after it (0 = none fail). Process-wide.
 */
void fb_alloc_fail_from(size_t n);

#endif
