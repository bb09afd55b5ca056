#include "compress/edges.h"

#include "base/alloc.h"
#include "base/status.h"

static bool any_marked(const int32_t *tensors, uint32_t n, const bool *mark)
{
    for (uint32_t i = 0; i < n; i++) {
        if (tensors[i] >= 0 && mark[tensors[i]])
            return true;
    }
    return false;
}

static void mark_all(const int32_t *tensors, uint32_t n, bool *mark)
{
    for (uint32_t i = 0; i < n; i++) {
        if (tensors[i] >= 0)
            mark[tensors[i]] = true;
    }
}

fb_status fb_edges_find(const fb_model *m, bool *edge)
{
    bool *after = fb_calloc(m->n_tensors + 1, sizeof *after);   /* a layer lies before it */
    bool *before = fb_calloc(m->n_tensors + 1, sizeof *before); /* a layer lies behind it */
    if (!after || !before) {
        fb_free(after);
        fb_free(before);
        return fb_fail(FB_E_MEMORY, "no memory to find the first and last layers");
    }
    for (size_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        bool layer = fb_node_weight(m, n) >= 0, reached = any_marked(n->in, n->n_in, after);
        edge[i] = layer && !reached;
        if (layer || reached)
            mark_all(n->out, n->n_out, after);
    }
    for (size_t i = m->n_nodes; i-- > 0;) {
        const fb_node *n = &m->nodes[i];
        bool layer = fb_node_weight(m, n) >= 0, reached = any_marked(n->out, n->n_out, before);
        edge[i] = edge[i] || (layer && !reached);
        if (layer || reached)
            mark_all(n->in, n->n_in, before);
    }
    fb_free(after);
    fb_free(before);
    return FB_OK;
}
