#include "model/cost.h"

uint64_t fb_cost_dense(const fb_cost_shape *s)
{
    return s->out_pixels * s->oc * s->kernel * (s->ic / s->groups);
}

uint64_t fb_cost_product(const fb_cost_shape *s, uint64_t sub, uint64_t words, uint64_t stages)
{
    uint64_t per_row = (s->ic / s->groups + sub - 1) / sub;
    uint64_t tables = s->in_pixels * s->ic * words;
    uint64_t look_ups = s->out_pixels * s->oc * s->kernel * per_row;
    return (tables + look_ups) * stages;
}
