#include "compress/sparse.h"

#include <math.h>

/* Bytes that the entropy coder will take for codes of at most 8 bits, nearly: their entropy and the
 * share that a table costs. */
static double coded_bytes(const fb_tensor *t, size_t n)
{
    size_t count[256] = {0};
    double bits = 512;
    for (size_t i = 0; i < n; i++)
        count[(unsigned)fb_packed_get(t->data, i, t->enc.bits, false) & 255u]++;
    for (size_t q = 0; q < 256; q++) {
        if (count[q] > 0)
            bits += (double)count[q] * log2((double)n / (double)count[q]);
    }
    return bits / 8;
}

static fb_status store(fb_model *m, int32_t tensor)
{
    const fb_tensor *t = &m->tensors[tensor];
    size_t bytes;
    int64_t n;
    fb_sparse form = fb_sparse_choose(t, &bytes, NULL);
    if (form == FB_DENSE || !fb_tensor_elems(t, 0, &n))
        return FB_OK;
    if (m->entropy && t->enc.kind != FB_ENC_PLAIN && t->enc.bits <= 8 &&
        coded_bytes(t, (size_t)n) <= (double)bytes)
        return FB_OK;
    return fb_sparse_store(m, tensor, form);
}

fb_status fb_store_sparse(fb_model *m)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        int32_t w = fb_node_weight(m, &m->nodes[i]);
        if (w >= 0)
            FB_TRY(store(m, w));
    }
    return FB_OK;
}
