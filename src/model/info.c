/* The public view of a model: reading only. */
#include "model/cost.h"
#include "model/fixed.h"
#include "model/model.h"
#include "model/product.h"
#include "model/shape.h"

#include <stdio.h>
#include <string.h>

const char *fb_dtype_name(fb_dtype dtype)
{
    switch (dtype) {
    case FB_F32:
        return "f32";
    case FB_U8:
        return "u8";
    case FB_S8:
        return "s8";
    case FB_U16:
        return "u16";
    case FB_S16:
        return "s16";
    case FB_S32:
        return "s32";
    case FB_S64:
        return "s64";
    case FB_BOOL:
        return "bool";
    case FB_F16:
        return "f16";
    case FB_F64:
        return "f64";
    case FB_U32:
        return "u32";
    case FB_U64:
        return "u64";
    case FB_BF16:
        return "bf16";
    }
    return "?";
}

size_t fb_dtype_bytes(fb_dtype dtype)
{
    switch (dtype) {
    case FB_U8:
    case FB_S8:
    case FB_BOOL:
        return 1;
    case FB_U16:
    case FB_S16:
    case FB_F16:
    case FB_BF16:
        return 2;
    case FB_F32:
    case FB_S32:
    case FB_U32:
        return 4;
    case FB_S64:
    case FB_U64:
    case FB_F64:
        return 8;
    }
    return 0;
}

const fb_prep *fb_model_prep(const fb_model *model)
{
    return &model->prep;
}

uint32_t fb_model_n_labels(const fb_model *model)
{
    return model->n_labels;
}

const char *fb_model_label(const fb_model *model, uint32_t i)
{
    return i < model->n_labels ? model->labels[i] : NULL;
}

const char *fb_model_note(const fb_model *model, const char *key)
{
    for (size_t i = 0; i < model->n_notes; i++) {
        if (strcmp(model->notes[i].key, key) == 0)
            return model->notes[i].value;
    }
    return NULL;
}

uint32_t fb_model_n_notes(const fb_model *model)
{
    return (uint32_t)model->n_notes;
}

void fb_model_note_at(const fb_model *model, uint32_t i, const char **key, const char **value)
{
    bool there = i < model->n_notes;
    *key = there ? model->notes[i].key : NULL;
    *value = there ? model->notes[i].value : NULL;
}

uint32_t fb_model_n_tensors(const fb_model *model)
{
    return (uint32_t)model->n_tensors;
}

uint32_t fb_model_n_layers(const fb_model *model)
{
    return (uint32_t)model->n_nodes;
}

uint32_t fb_model_n_inputs(const fb_model *model)
{
    return model->n_inputs;
}

uint32_t fb_model_n_outputs(const fb_model *model)
{
    return model->n_outputs;
}

int32_t fb_model_input(const fb_model *model, uint32_t i)
{
    return i < model->n_inputs ? model->inputs[i] : -1;
}

int32_t fb_model_output(const fb_model *model, uint32_t i)
{
    return i < model->n_outputs ? model->outputs[i] : -1;
}

/* Of the elements of a sparse constant, how many percent are not kept. */
static unsigned percent_dropped(const fb_tensor *t)
{
    int64_t n;
    if (!fb_tensor_elems(t, 0, &n) || n == 0)
        return 0;
    return (unsigned)(100 * (double)((size_t)n - t->enc.n_kept) / (double)n);
}

/* One text per combination of flags, so that the pointer needs no owner. */
static const char *encoding_text(const fb_tensor *t)
{
    static _Thread_local char text[80];
    if (t->enc.kind == FB_ENC_PLAIN && !t->enc.sparse)
        return fb_dtype_name(t->dtype);
    fb_encoding_get(t->enc.kind)->describe(t, text, sizeof text);
    size_t n = strlen(text);
    if (t->enc.sparse)
        (void)snprintf(text + n, sizeof text - n, " sparse %u%%", percent_dropped(t));
    return text;
}

/* Of the lists of a constant's encoding: integer levels in one or two bytes, a patch as the number
 * of an element and a 16-bit float. */
static size_t encoding_bytes(const fb_encoding *e)
{
    size_t level = e->level_bits == 0 ? sizeof(float) : e->level_bits > 8 ? 2 : 1;
    return (size_t)e->n_scales * (sizeof(float) + (e->zero ? sizeof(int32_t) : 0)) +
           (size_t)e->n_tables * e->n_levels * level +
           (size_t)e->n_patches * (sizeof(uint32_t) + sizeof(uint16_t));
}

fb_status fb_model_tensor(const fb_model *model, uint32_t i, fb_tensor_info *info)
{
    if (i >= model->n_tensors)
        return fb_fail(FB_E_ARG, "tensor %u of %zu does not exist", i, model->n_tensors);
    const fb_tensor *t = &model->tensors[i];
    *info = (fb_tensor_info){.name = t->name,
                             .dtype = t->dtype,
                             .rank = (uint32_t)t->rank,
                             .is_const = t->is_const,
                             .source_nchw = t->source_nchw,
                             .encoding = encoding_text(t)};
    memcpy(info->dims, t->dims, sizeof info->dims);
    if (t->is_const)
        info->stored_bytes = t->enc.kind == FB_ENC_PRODUCT
                                 ? fb_product_bytes(t)
                                 : t->data_bytes + encoding_bytes(&t->enc);
    return FB_OK;
}

/* Multiply-adds of one image, as the literature counts them: conv and fully connected layers. */
static uint64_t node_macs(const fb_model *m, const fb_node *n)
{
    if (!fb_op_has_weight(n->op) && n->op != FB_OP_MATMUL)
        return 0;
    int64_t out, w = 0, x;
    if (!fb_tensor_elems(&m->tensors[n->out[0]], 1, &out))
        return 0;
    const fb_tensor *a = &m->tensors[n->in[0]], *b = &m->tensors[n->in[1]];
    if (n->op == FB_OP_MATMUL || n->op == FB_OP_DENSE)
        return (uint64_t)out * (uint64_t)(a->rank > 0 ? fb_dim_at(a->dims[a->rank - 1], 1) : 1);
    if (!fb_tensor_elems(b, 1, &w) || !fb_tensor_elems(a, 1, &x) || b->dims[0] <= 0)
        return 0;
    /* A transposed convolution multiplies each input, not each output, with the kernel. */
    int64_t pixels = n->op == FB_OP_CONV ? out / b->dims[0] : x / fb_dim_at(a->dims[3], 1);
    return (uint64_t)pixels * (uint64_t)w;
}

/* With product weights along channels, what look-up would take (METHODS A.3); else the MACs. */
static uint64_t node_ops(const fb_model *m, const fb_node *n)
{
    int32_t weight = fb_node_weight(m, n);
    const fb_tensor *w = weight >= 0 ? &m->tensors[weight] : NULL;
    if (!w || w->enc.kind != FB_ENC_PRODUCT || w->enc.along_kernel ||
        (n->op != FB_OP_CONV && n->op != FB_OP_DENSE))
        return node_macs(m, n);
    fb_product p = fb_product_of(w);
    uint64_t groups = n->op == FB_OP_CONV ? (uint64_t)n->attr.conv.groups : 1;
    int64_t in, out;
    if (!fb_tensor_elems(&m->tensors[n->in[0]], 1, &in) ||
        !fb_tensor_elems(&m->tensors[n->out[0]], 1, &out))
        return 0;
    fb_cost_shape s = {.in_pixels = (uint64_t)in / (p.c * groups),
                       .out_pixels = (uint64_t)out / p.ct,
                       .kernel = p.kernel,
                       .ic = p.c * groups,
                       .oc = p.ct,
                       .groups = groups};
    return fb_cost_product(&s, p.sub, p.words, p.stages);
}

/* Item i of "a|b|c". */
static const char *choice_at(const char *choices, int32_t i, int *n)
{
    for (; i > 0; i--)
        choices = strchr(choices, '|') + 1;
    *n = (int)strcspn(choices, "|");
    return choices;
}

static const char *arithmetic_text(const fb_node *n)
{
    static _Thread_local char text[64];
    const fb_fixed *f = fb_node_fixed(n);
    if (!f || f->acc_bits == 0)
        return "";
    int n_mode, n_round;
    const char *mode = choice_at(FB_OVERFLOW_NAMES, f->overflow, &n_mode);
    const char *round = choice_at(FB_ROUNDING_NAMES, f->rounding, &n_round);
    (void)snprintf(text, sizeof text, "acc%d %.*s %.*s", (int)f->acc_bits, n_mode, mode, n_round,
                   round);
    return text;
}

fb_status fb_model_layer(const fb_model *model, uint32_t i, fb_layer_info *info)
{
    if (i >= model->n_nodes)
        return fb_fail(FB_E_ARG, "layer %u of %zu does not exist", i, model->n_nodes);
    const fb_node *n = &model->nodes[i];
    const char *op = fb_op_get(n->op)->name;
    if (n->op == FB_OP_UNARY)
        op = fb_unary_name(n->attr.unary.kind);
    else if (n->op == FB_OP_BINARY)
        op = fb_binary_name(n->attr.binary.kind);
    *info = (fb_layer_info){.name = n->name,
                            .op = op,
                            .n_in = n->n_in,
                            .n_out = n->n_out,
                            .in = n->in,
                            .out = n->out,
                            .weight = fb_node_weight(model, n),
                            .macs = node_macs(model, n),
                            .ops = node_ops(model, n),
                            .arithmetic = arithmetic_text(n)};
    for (uint32_t k = 0; k < n->n_in; k++) {
        int64_t elems;
        if (n->in[k] >= 0 && model->tensors[n->in[k]].is_const &&
            fb_tensor_elems(&model->tensors[n->in[k]], 1, &elems))
            info->params += (uint64_t)elems;
    }
    return FB_OK;
}
