/* Lives and places of a net's values.
 *
 * Time runs over one step: layer i runs forward at i, the loss is taken at L (the number of
 * layers), layer i runs backward at 2L - i. An activation lives from its layer to its last reader,
 * which is a backward pass where an operator keeps its input or output; a gradient from the
 * backward pass of its last reader to that of its maker. Largest first, each at the lowest place
 * that is free throughout its life. */
#include "base/size.h"
#include "train/layer.h"

#include <stdlib.h>

typedef struct block {
    int32_t first, last;
    size_t bytes, at;
    size_t *place; /* where `at` is to be written */
} block;

static fb_value *root(const fb_net *net, int32_t v)
{
    while (net->values[v].alias >= 0)
        v = net->values[v].alias;
    return &net->values[v];
}

static void live_x(fb_value *v, int32_t time)
{
    v->x_first = time < v->x_first ? time : v->x_first;
    v->x_last = time > v->x_last ? time : v->x_last;
}

static void live_g(fb_value *v, int32_t time)
{
    v->g_first = time < v->g_first ? time : v->g_first;
    v->g_last = time > v->g_last ? time : v->g_last;
}

static void layer_lives(const fb_net *net, int32_t i, int32_t loss)
{
    const fb_layer *l = &net->layers[i];
    int32_t back = 2 * loss - i;
    fb_value *out = root(net, l->out);
    live_x(out, i);
    live_g(out, back);
    if (l->def->keeps & FB_KEEP_Y)
        live_x(out, back);
    for (uint32_t k = 0; k < l->n_in; k++) {
        if (l->in[k] < 0)
            continue;
        fb_value *in = root(net, l->in[k]);
        live_x(in, i);
        live_g(in, back);
        if (l->def->keeps & FB_KEEP_X)
            live_x(in, back);
    }
}

static void find_lives(fb_net *net)
{
    int32_t loss = (int32_t)net->n_layers, end = 2 * loss + 1;
    for (size_t i = 0; i < net->n_values; i++) {
        fb_value *v = &net->values[i];
        v->x_first = v->g_first = end + 1;
        v->x_last = v->g_last = -2;
    }
    for (int32_t i = 0; i < loss; i++)
        layer_lives(net, i, loss);
    fb_value *in = root(net, net->input), *out = root(net, net->logits);
    live_x(in, -1);
    live_x(in, end);
    live_x(out, end);
    live_g(out, loss);
    for (uint32_t k = 0; k < net->n_taps; k++) {
        live_x(root(net, net->taps[k]), end);
        live_g(root(net, net->taps[k]), loss);
    }
}

static int larger_first(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->place < y->place ? -1 : 1;
}

/* Lowest hole among the placed blocks, which are sorted by place. */
static size_t find_hole(const block *list, size_t n, const block *want)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (list[i].last < want->first || list[i].first > want->last)
            continue;
        if (list[i].at >= at && list[i].at - at >= want->bytes)
            break;
        if (list[i].at + list[i].bytes > at)
            at = list[i].at + list[i].bytes;
    }
    return at;
}

static size_t place_all(block *blocks, size_t n, block *placed)
{
    size_t end = 0;
    qsort(blocks, n, sizeof *blocks, larger_first);
    for (size_t i = 0; i < n; i++) {
        block b = blocks[i];
        b.at = find_hole(placed, i, &b);
        *b.place = b.at;
        end = b.at + b.bytes > end ? b.at + b.bytes : end;
        size_t k = i;
        for (; k > 0 && placed[k - 1].at > b.at; k--)
            placed[k] = placed[k - 1];
        placed[k] = b;
    }
    return end;
}

static size_t list_blocks(fb_net *net, block *blocks)
{
    size_t n = 0;
    for (size_t i = 0; i < net->n_values; i++) {
        fb_value *v = &net->values[i];
        size_t bytes = fb_round_up(v->n * sizeof(float), FB_ALIGN);
        if (v->alias >= 0 || v->is_const)
            continue;
        if (v->x_first <= v->x_last)
            blocks[n++] = (block){v->x_first, v->x_last, bytes, 0, &v->x_at};
        if (v->wants_g && v->g_first <= v->g_last)
            blocks[n++] = (block){v->g_first, v->g_last, bytes, 0, &v->g_at};
    }
    return n;
}

/* Pointers, once the arena is there; other views last, since their roots come first. */
static void point(fb_net *net)
{
    for (size_t i = 0; i < net->n_values; i++) {
        fb_value *v = &net->values[i];
        if (v->alias >= 0 || v->is_const)
            continue;
        if (v->x_first <= v->x_last)
            v->x = (float *)(void *)(net->memory + v->x_at);
        if (v->wants_g && v->g_first <= v->g_last)
            v->g = (float *)(void *)(net->memory + v->g_at);
    }
    for (size_t i = 0; i < net->n_values; i++) {
        fb_value *v = &net->values[i], *from = root(net, (int32_t)i);
        if (v->alias >= 0) {
            v->x = from->x;
            v->g = from->g;
        }
    }
}

/* Room for the gradients of one layer's inputs that are added to others. */
static size_t spare_floats(const fb_net *net)
{
    size_t most = 1;
    for (size_t i = 0; i < net->n_layers; i++) {
        const fb_layer *l = &net->layers[i];
        size_t sum = 0;
        for (uint32_t k = 0; k < l->n_in; k++) {
            if (l->in[k] >= 0)
                sum += fb_round_up(fb_layer_in(net, l, k)->n, FB_ALIGN);
        }
        most = sum > most ? sum : most;
    }
    return most;
}

fb_status fb_net_place(fb_net *net)
{
    find_lives(net);
    block *blocks = fb_calloc(4 * net->n_values, sizeof *blocks);
    if (!blocks)
        return fb_fail(FB_E_MEMORY, "no memory for the network to train");
    size_t n = list_blocks(net, blocks);
    net->memory_bytes = place_all(blocks, n, blocks + 2 * net->n_values);
    fb_free(blocks);
    net->memory = fb_calloc(1, net->memory_bytes);
    net->spare = fb_calloc(spare_floats(net), sizeof *net->spare);
    if (!net->memory || !net->spare)
        return fb_fail(FB_E_MEMORY, "no memory for a batch's activations (%zu bytes)",
                       net->memory_bytes);
    point(net);
    return FB_OK;
}
