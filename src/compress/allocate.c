/* The multiple-choice knapsack. */
#include "compress/allocate.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>

uint64_t fb_allocated_cost(const fb_item *items, uint32_t n_items, const uint32_t *pick)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n_items; i++)
        sum += items[i].choices[pick[i]].cost;
    return sum;
}

double fb_allocated_harm(const fb_item *items, uint32_t n_items, const uint32_t *pick)
{
    double sum = 0;
    for (uint32_t i = 0; i < n_items; i++)
        sum += items[i].choices[pick[i]].harm;
    return sum;
}

void fb_allocate_at_price(const fb_item *items, uint32_t n_items, double price, uint32_t *pick)
{
    for (uint32_t i = 0; i < n_items; i++) {
        const fb_choice *c = items[i].choices;
        pick[i] = 0;
        for (uint32_t k = 1; k < items[i].n; k++) {
            double now = c[k].harm + price * (double)c[k].cost;
            double best = c[pick[i]].harm + price * (double)c[pick[i]].cost;
            if (now < best || (now == best && c[k].cost < c[pick[i]].cost))
                pick[i] = k;
        }
    }
}

/* Slices that a cost takes. */
static uint64_t slices_of(uint64_t cost, uint64_t slice)
{
    return cost / slice + (cost % slice != 0);
}

/* best[s]: least harm of the items so far that take s slices at most; the choice that gave it. */
static void add_item(const fb_item *item, const double *best, double *next, uint16_t *taken,
                     uint64_t slice, uint32_t n_buckets)
{
    for (uint32_t s = 0; s <= n_buckets; s++)
        next[s] = (double)INFINITY;
    for (uint32_t k = 0; k < item->n; k++) {
        uint64_t need = slices_of(item->choices[k].cost, slice);
        for (uint64_t s = need; s <= n_buckets; s++) {
            double harm = best[s - need] + item->choices[k].harm;
            if (harm < next[s]) {
                next[s] = harm;
                taken[s] = (uint16_t)k;
            }
        }
    }
}

static void walk_back(const fb_item *items, uint32_t n_items, const uint16_t *taken, uint64_t slice,
                      uint32_t n_buckets, uint32_t *pick)
{
    uint64_t left = n_buckets;
    for (uint32_t i = n_items; i-- > 0;) {
        pick[i] = taken[(size_t)i * (n_buckets + 1) + left];
        left -= slices_of(items[i].choices[pick[i]].cost, slice);
    }
}

fb_status fb_allocate(const fb_item *items, uint32_t n_items, uint64_t budget, uint32_t n_buckets,
                      uint32_t *pick)
{
    uint64_t slice = budget > n_buckets ? slices_of(budget, n_buckets) : 1;
    n_buckets = (uint32_t)(budget / slice);
    size_t row = (size_t)n_buckets + 1;
    double *best = fb_calloc(row, sizeof *best), *next = fb_calloc(row, sizeof *next);
    uint16_t *taken = fb_calloc(row * (n_items ? n_items : 1), sizeof *taken);
    fb_status status = FB_OK;
    if (!best || !next || !taken) {
        status = fb_fail(FB_E_MEMORY, "no memory to share out bits");
        goto done;
    }
    for (uint32_t i = 0; i < n_items; i++) {
        FB_ENSURE(items[i].n >= 1 && items[i].n <= UINT16_MAX);
        add_item(&items[i], best, next, taken + i * row, slice, n_buckets);
        double *swap = best;
        best = next;
        next = swap;
    }
    if (isinf(best[n_buckets])) {
        status =
            fb_fail(FB_E_LIMIT, "the budget of %llu is less than what the cheapest choices cost",
                    (unsigned long long)budget);
        goto done;
    }
    walk_back(items, n_items, taken, slice, n_buckets, pick);
done:
    fb_free(best);
    fb_free(next);
    fb_free(taken);
    return status;
}
