/* Sums over processes, from exchanges of blocks. */
#include "train/ranks.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROOM = 1 << 20, /* bytes of a message, at most */
    FEW = 1 << 14   /* bytes that are rather sent to all than in two steps */
};

uint32_t fb_ranks_told(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        unsigned long n = text ? strtoul(text, NULL, 10) : 0;
        if (n > 0 && n <= UINT32_MAX)
            return (uint32_t)n;
    }
    return 0;
}

static void add_doubles(uint32_t ranks, size_t n, const double *from, double *to)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < ranks; k++)
            sum += from[k * n + i];
        to[i] = sum;
    }
}

static void average_floats(uint32_t ranks, size_t n, const float *from, float *to)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < ranks; k++)
            sum += (double)from[k * n + i];
        to[i] = (float)(sum / ranks);
    }
}

static void add(uint32_t ranks, size_t n, size_t size, const void *from, void *to)
{
    if (size == sizeof(double))
        add_doubles(ranks, n, from, to);
    else
        average_floats(ranks, n, from, to);
}

/* Each rank adds up a block and hands it round: what moves does not grow with the number of
 * ranks. */
static void combine_blocks(const fb_ranks *r, char *x, size_t n, size_t size, char *room)
{
    size_t most = ROOM / size / r->n, block = (n + r->n - 1) / r->n;
    block = block < most ? block : most;
    char *mine = room, *theirs = room + r->n * block * size;
    for (size_t from = 0; from < n; from += r->n * block) {
        size_t bytes = (n - from < r->n * block ? n - from : r->n * block) * size;
        memcpy(mine, x + from * size, bytes);
        memset(mine + bytes, 0, r->n * block * size - bytes);
        r->exchange(r, mine, theirs, block * size);
        add(r->n, block, size, theirs, mine);
        r->gather(r, mine, theirs, block * size);
        memcpy(x + from * size, theirs, bytes);
    }
}

static fb_status combine(const fb_ranks *r, void *x, size_t n, size_t size)
{
    bool few = n <= FEW / size / r->n;
    if (r->n == 1 || n == 0)
        return FB_OK;
    FB_ENSURE(r->n <= ROOM / size);
    char *room = fb_alloc(few ? r->n * n * size : 2 * (size_t)ROOM);
    if (!room)
        return fb_fail(FB_E_MEMORY, "no memory to add up over %u processes", r->n);
    if (few) {
        r->gather(r, x, room, n * size);
        add(r->n, n, size, room, x);
    } else {
        combine_blocks(r, x, n, size, room);
    }
    fb_free(room);
    return FB_OK;
}

fb_status fb_ranks_sum(const fb_ranks *r, double *x, size_t n)
{
    return combine(r, x, n, sizeof *x);
}

fb_status fb_ranks_mean(const fb_ranks *r, float *x, size_t n)
{
    return combine(r, x, n, sizeof *x);
}

static fb_status gather_numbers(const fb_ranks *r, uint64_t x, uint64_t **all)
{
    *all = fb_calloc(r->n, sizeof **all);
    if (!*all)
        return fb_fail(FB_E_MEMORY, "no memory to hear of %u processes", r->n);
    r->gather(r, &x, *all, sizeof x);
    return FB_OK;
}

fb_status fb_ranks_any(const fb_ranks *r, uint32_t *bits)
{
    uint64_t *all;
    if (r->n == 1)
        return FB_OK;
    FB_TRY(gather_numbers(r, *bits, &all));
    for (uint32_t k = 0; k < r->n; k++)
        *bits |= (uint32_t)all[k];
    fb_free(all);
    return FB_OK;
}

fb_status fb_ranks_differ(const fb_ranks *r, uint64_t x, uint32_t *rank)
{
    uint64_t *all;
    *rank = 0;
    if (r->n == 1)
        return FB_OK;
    FB_TRY(gather_numbers(r, x, &all));
    for (uint32_t k = r->n - 1; k > 0; k--) {
        if (all[k] != all[0])
            *rank = k;
    }
    fb_free(all);
    return FB_OK;
}
