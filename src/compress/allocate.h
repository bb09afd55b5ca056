/* One choice for each item, so that all fit a budget and do the least harm: bits for layers, as a
 * multiple-choice knapsack (METHODS M.10, IV.5). */
#ifndef FB_COMPRESS_ALLOCATE_H
#define FB_COMPRESS_ALLOCATE_H

#include "fewbit/status.h"

typedef struct fb_choice {
    double harm;   /* finite */
    uint64_t cost; /* < 2^53 */
} fb_choice;

typedef struct fb_item {
    const fb_choice *choices; /* [n], n >= 1 */
    uint32_t n;
} fb_item;

/* Least total harm with total cost <= budget; pick [n_items] receives choice numbers. Dynamic
 * programming over at most `n_buckets` slices of the budget, costs rounded up to whole slices: what
 * is picked always fits, and is the optimum for a budget smaller by at most n_items + 1 slices.
 * FB_E_LIMIT when even the cheapest choices do not fit so. Cost: all choices x n_buckets. */
fb_status fb_allocate(const fb_item *items, uint32_t n_items, uint64_t budget, uint32_t n_buckets,
                      uint32_t *pick);

/* For each item the choice of least harm + price x cost, the cheaper one of equals: all optima on
 * the convex hull of (cost, harm), from a price of 0 (least harm) upwards. */
void fb_allocate_at_price(const fb_item *items, uint32_t n_items, double price, uint32_t *pick);

uint64_t fb_allocated_cost(const fb_item *items, uint32_t n_items, const uint32_t *pick);
double fb_allocated_harm(const fb_item *items, uint32_t n_items, const uint32_t *pick);

#endif
