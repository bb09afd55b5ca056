/* Layers as people read them. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool takes_weights(const char *op)
{
    return strncmp(op, "conv", 4) == 0 && strcmp(op, "convert") != 0 ? true
                                                                     : strcmp(op, "dense") == 0;
}

int layer_look(const fb_model *model, uint32_t i, layer_view *v)
{
    fb_tensor_info t;
    *v = (layer_view){0};
    fb_status status = fb_model_layer(model, i, &v->layer);
    if (status == FB_OK && v->layer.n_out > 0 && v->layer.out[0] >= 0) {
        status = fb_model_tensor(model, (uint32_t)v->layer.out[0], &t);
        if (status == FB_OK) {
            snprintf(v->shape, sizeof v->shape, "%s", show_dims(t.rank, t.dims));
            snprintf(v->activation, sizeof v->activation, "%s", t.encoding);
        }
    }
    if (status == FB_OK && v->layer.weight >= 0) {
        status = fb_model_tensor(model, (uint32_t)v->layer.weight, &t);
        if (status == FB_OK) {
            snprintf(v->encoding, sizeof v->encoding, "%s", t.encoding);
            v->weight_bytes = t.stored_bytes;
            v->compressible = t.is_const;
        }
    }
    if (status != FB_OK)
        return fail_status(status, v->layer.name);
    if (!v->compressible && takes_weights(v->layer.op))
        v->why_not = "its weights are computed, not constant";
    else if (!v->compressible && v->layer.params > 0)
        v->why_not = "no convolution or dense layer";
    return EXIT_DONE;
}

int model_sum(const fb_model *model, model_totals *totals)
{
    uint32_t n_tensors = fb_model_n_tensors(model);
    *totals = (model_totals){0};
    bool *seen = calloc((size_t)n_tensors + 1, sizeof *seen); /* weights, each counted once */
    if (!seen)
        return fail(EXIT_FAILED, "no memory");
    for (uint32_t i = 0; i < fb_model_n_layers(model); i++) {
        layer_view v;
        int code = layer_look(model, i, &v);
        if (code != EXIT_DONE) {
            free(seen);
            return code;
        }
        totals->macs += v.layer.macs;
        totals->params += v.layer.params;
        totals->n_compressible += v.compressible;
        if (v.compressible && !seen[v.layer.weight]) {
            seen[v.layer.weight] = true;
            totals->weight_bytes += v.weight_bytes;
        }
    }
    for (uint32_t i = 0; i < n_tensors; i++) {
        fb_tensor_info t;
        if (!seen[i] && fb_model_tensor(model, i, &t) == FB_OK && t.is_const)
            totals->other_bytes += t.stored_bytes;
    }
    free(seen);
    return EXIT_DONE;
}
