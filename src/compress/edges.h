/* The first and the last layers of a network, which bear few bits worse than the others and hold
 * few of the weights. */
#ifndef FB_COMPRESS_EDGES_H
#define FB_COMPRESS_EDGES_H

#include "model/model.h"

/* edge [n_nodes], for each layer with constant weights (fb_node_weight): whether no such layer lies
 * between it and an input of the model, or between it and an output. */
fb_status fb_edges_find(const fb_model *m, bool *edge);

#endif
