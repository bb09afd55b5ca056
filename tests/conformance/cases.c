/* Running one case: which inputs are parameters, the three ways to import, the comparison. */
#include "cases.h"

#include "base/file.h"
#include "fewbit/run.h"
#include "import/import.h"
#include "kernels/element.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_IO = 64 };

typedef struct value {
    fb_dtype dtype;
    uint32_t rank;
    int64_t dims[FB_MAX_RANK];
    size_t n, bytes;
    const void *data;
} value;

typedef struct test {
    char *reason;
    size_t cap;
    void *map;
    size_t map_bytes;
    Onnx__ModelProto *proto;
    fb_imp *store; /* owns the tensors */
    value in[MOST_IO], out[MOST_IO];
    bool has_in[MOST_IO], has_out[MOST_IO];
} test;

#define SAY(t, ...) snprintf((t)->reason, (t)->cap, __VA_ARGS__)

/* ---- what a case consists of --------------------------------------------------------------- */

static const char *const supported[] = {
#define FB_ONNX(name, fn) name,
#include "import/ops.inc"
#undef FB_ONNX
};

static bool is_supported(const Onnx__NodeProto *n)
{
    if (n->domain && n->domain[0])
        return false;
    for (size_t i = 0; i < sizeof supported / sizeof supported[0]; i++) {
        if (strcmp(supported[i], n->op_type) == 0)
            return true;
    }
    return false;
}

/* Inputs that are parameters: bit i = input i is given as a constant. */
static const struct {
    const char *op;
    unsigned mask;
} parameters[] = {
    {"Conv", 0x6},          {"ConvTranspose", 0x6},  {"BatchNormalization", 0x1e},
    {"Reshape", 0x2},       {"Slice", 0x1e},         {"Pad", 0xe},
    {"Resize", 0xe},        {"Upsample", 0x2},       {"Expand", 0x2},
    {"Squeeze", 0x2},       {"Unsqueeze", 0x2},      {"Split", 0x2},
    {"ReduceSum", 0x2},     {"ReduceMean", 0x2},     {"ReduceMax", 0x2},
    {"Dropout", 0x6},       {"QuantizeLinear", 0x6}, {"DequantizeLinear", 0x6},
    {"QLinearConv", 0x1fe}, {"QLinearMatMul", 0xfe}, {"ConstantOfShape", 0x1},
    {"Floor", 0x1},         {"Ceil", 0x1},
};

static bool is_parameter(const test *t, const char *name)
{
    const Onnx__GraphProto *g = t->proto->graph;
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < sizeof parameters / sizeof parameters[0]; k++) {
            if (strcmp(parameters[k].op, g->node[i]->op_type) != 0)
                continue;
            for (size_t j = 0; j < g->node[i]->n_input; j++) {
                if ((parameters[k].mask >> j & 1u) && strcmp(g->node[i]->input[j], name) == 0)
                    return true;
            }
        }
    }
    return false;
}

static bool read_tensor(test *t, const char *path, value *v, bool *ok)
{
    void *data;
    size_t bytes;
    int32_t index;
    *ok = true;
    if (fb_file_map(path, &data, &bytes) != FB_OK)
        return false;
    ProtobufCAllocator *none = NULL;
    Onnx__TensorProto *p = onnx__tensor_proto__unpack(none, bytes, data);
    *ok = p && fb_imp_tensor(t->store, p, "", &index) == FB_OK;
    if (*ok) {
        const fb_imp_value *c = fb_imp_at(t->store, index);
        int64_t n;
        (void)fb_imp_elems(&c->shape, &n);
        *v = (value){c->shape.dtype, (uint32_t)c->shape.rank, {0},
                     (size_t)n,      c->buf->bytes,           c->buf->data};
        memcpy(v->dims, c->shape.dims, sizeof v->dims);
    }
    if (p)
        onnx__tensor_proto__free_unpacked(p, none);
    fb_file_unmap(data, bytes);
    return true;
}

static bool read_set(test *t, const char *folder, unsigned set, bool *there)
{
    char path[1200];
    bool ok = true;
    *there = false;
    for (unsigned i = 0; i < MOST_IO && ok; i++) {
        snprintf(path, sizeof path, "%s/test_data_set_%u/input_%u.pb", folder, set, i);
        t->has_in[i] = read_tensor(t, path, &t->in[i], &ok);
        snprintf(path, sizeof path, "%s/test_data_set_%u/output_%u.pb", folder, set, i);
        if (ok)
            t->has_out[i] = read_tensor(t, path, &t->out[i], &ok);
        *there = *there || t->has_in[i] || t->has_out[i];
    }
    return ok;
}

/* ---- running ------------------------------------------------------------------------------- */

/* NCHW data into an input that is taken channels last. */
static void put_input(const value *v, bool channels_last, void *to)
{
    if (!channels_last) {
        memcpy(to, v->data, v->bytes);
        return;
    }
    int64_t c = v->dims[1], h = v->dims[2], w = v->dims[3];
    fb_imp_strided(to, v->data, fb_dtype_bytes(v->dtype), 4, (int64_t[]){v->dims[0], h, w, c},
                   (int64_t[]){c * h * w, w, 1, h * w}, 0);
}

/* The cases cut off the low half of a float, where casting rounds: one step apart is the same. */
static bool same_bf16(const void *a, const void *b, size_t i)
{
    int d = (int)((const uint16_t *)a)[i] - (int)((const uint16_t *)b)[i];
    return d >= -1 && d <= 1;
}

static bool same(fb_dtype of, fb_dtype t, const void *a, const void *b, size_t i)
{
    if (t == FB_U16 && fbk_is_float(of))
        return same_bf16(a, b, i);
    if (t != FB_F32 && t != FB_F64 && t != FB_F16 && t != FB_BF16)
        return memcmp((const char *)a + i * fb_dtype_bytes(t),
                      (const char *)b + i * fb_dtype_bytes(t), fb_dtype_bytes(t)) == 0;
    double x = fbk_get_f64(t, a, i), y = fbk_get_f64(t, b, i);
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y);
    if (isinf(x) || isinf(y))
        return x == y;
    return fabs(x - y) <= 1e-5 + 1e-3 * fabs(y);
}

static bool compare(test *t, uint32_t k, const fb_view *got)
{
    const value *want = &t->out[k];
    bool shape = got->rank == want->rank && got->n_elems == want->n;
    for (uint32_t i = 0; shape && i < want->rank; i++)
        shape = got->dims[i] == want->dims[i];
    /* The cases store bf16 as u16. */
    bool type = got->dtype == want->dtype || (got->dtype == FB_BF16 && want->dtype == FB_U16);
    if (!type || !shape) {
        SAY(t, "output %u is %s of %zu elements and rank %u, must be %s of %zu and rank %u", k,
            fb_dtype_name(got->dtype), got->n_elems, got->rank, fb_dtype_name(want->dtype), want->n,
            want->rank);
        return false;
    }
    for (size_t i = 0; i < want->n; i++) {
        if (same(got->dtype, want->dtype, got->data, want->data, i))
            continue;
        SAY(t, "output %u[%zu] is %.9g, must be %.9g", k, i, fbk_get_f64(want->dtype, got->data, i),
            fbk_get_f64(want->dtype, want->data, i));
        return false;
    }
    return true;
}

/* "Like" operands give their type only; their data need not even fit their declared shape. */
static bool is_read(const fb_model *m, int32_t tensor)
{
    for (size_t i = 0; i < m->n_nodes; i++) {
        for (uint32_t k = 0; k < m->nodes[i].n_in; k++) {
            if (m->nodes[i].in[k] == tensor)
                return true;
        }
    }
    return false;
}

static bool run_model(test *t, const fb_model *m, const uint32_t *source, uint32_t batch)
{
    fb_plan *plan = NULL;
    fb_run *run = NULL;
    fb_plan_options options;
    fb_plan_options_default(&options);
    options.batch = batch;
    bool ok = fb_plan_create(m, &options, &plan) == FB_OK && fb_run_create(plan, 1, &run) == FB_OK;
    for (uint32_t i = 0; ok && i < m->n_inputs; i++) {
        size_t bytes;
        void *to = fb_run_input(run, i, &bytes);
        const value *v = &t->in[source[i]];
        if (!is_read(m, m->inputs[i]))
            continue;
        if (!to || bytes != v->bytes) {
            SAY(t, "input %u takes %zu bytes, the data has %zu", i, bytes, v->bytes);
            ok = false;
            goto done;
        }
        put_input(v, m->tensors[m->inputs[i]].source_nchw, to);
    }
    ok = ok && fb_run_execute(run) == FB_OK;
    if (!ok)
        SAY(t, "%s", fb_error());
    for (uint32_t k = 0; ok && k < m->n_outputs && k < MOST_IO; k++) {
        fb_view view;
        if (!t->has_out[k])
            continue;
        if (fb_run_tensor(run, m->outputs[k], &view) != FB_OK) {
            SAY(t, "%s", fb_error());
            ok = false;
        } else {
            ok = compare(t, k, &view);
        }
    }
done:
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return ok;
}

/* Refusals that are no failure: outside what fewbit is for. */
static const char *accepted_refusal(const char *text)
{
    static const struct {
        const char *part, *reason;
    } list[] = {{"3-D", "3-D convolutions and pools"},
                {"strings", "strings and sequences"},
                {"training mode", "training mode"},
                {"is not a tensor", "strings and sequences"},
                {"empty", "empty tensors"}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (strstr(text, list[i].part))
            return list[i].reason;
    }
    return NULL;
}

static bool is_initializer(const Onnx__GraphProto *g, const char *name)
{
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (g->initializer[i]->name && strcmp(g->initializer[i]->name, name) == 0)
            return true;
    }
    return false;
}

/* source[i] = data file of the i-th input that stays one. */
static uint32_t bind_parameters(test *t, fb_onnx_binding *bindings, uint32_t *source,
                                int64_t *batch)
{
    const Onnx__GraphProto *g = t->proto->graph;
    uint32_t n = 0, n_in = 0, file = 0;
    for (size_t i = 0; i < g->n_input && file < MOST_IO; i++) {
        const char *name = g->input[i]->name;
        if (is_initializer(g, name) && !t->has_in[file])
            continue;
        const value *v = &t->in[file];
        if (t->has_in[file] && is_parameter(t, name)) {
            bindings[n++] = (fb_onnx_binding){name, v->dtype, v->rank, {0}, v->data};
            memcpy(bindings[n - 1].dims, v->dims, sizeof v->dims);
        } else {
            if (v->rank > 0 && *batch == 0)
                *batch = v->dims[0];
            source[n_in++] = file;
        }
        file++;
    }
    return n;
}

static verdict run_way(test *t, bool keep_layout, bool keep_names)
{
    fb_onnx_binding bindings[MOST_IO];
    uint32_t source[MOST_IO] = {0};
    int64_t batch = 0;
    fb_model *m;
    fb_onnx_options options = {.bindings = bindings,
                               .n_bindings = bind_parameters(t, bindings, source, &batch),
                               .keep_io_layout = keep_layout,
                               .keep_names = keep_names};
    fb_status status = fb_onnx_import_memory(t->map, t->map_bytes, NULL, &options, &m);
    if (status == FB_E_UNSUPPORTED) {
        const char *reason = accepted_refusal(fb_error());
        SAY(t, "%s", reason ? reason : fb_error());
        return reason ? CASE_SKIP : CASE_FAIL;
    }
    if (status != FB_OK) {
        SAY(t, "%s: %s", fb_status_name(status), fb_error());
        return CASE_FAIL;
    }
    bool ok = run_model(t, m, source, batch > 0 ? (uint32_t)batch : 1);
    fb_model_close(&m);
    return ok ? CASE_PASS : CASE_FAIL;
}

static bool has_empty(const test *t)
{
    for (unsigned i = 0; i < MOST_IO; i++) {
        if ((t->has_out[i] && t->out[i].n == 0))
            return true;
        if (t->has_in[i] && t->in[i].n == 0 && i < t->proto->graph->n_input &&
            !is_parameter(t, t->proto->graph->input[i]->name))
            return true;
    }
    return false;
}

static verdict run_sets(test *t, const char *folder)
{
    static const bool ways[3][2] = {{true, false}, {false, false}, {true, true}};
    for (unsigned set = 0; set < 8; set++) {
        bool there;
        if (!read_set(t, folder, set, &there)) {
            SAY(t, "strings and sequences"); /* data that is no plain tensor */
            return CASE_SKIP;
        }
        if (!there) {
            if (set == 0)
                SAY(t, "no data");
            return set == 0 ? CASE_SKIP : CASE_PASS;
        }
        if (has_empty(t)) {
            SAY(t, "empty tensors");
            return CASE_SKIP;
        }
        for (int w = 0; w < 3; w++) {
            verdict v = run_way(t, ways[w][0], ways[w][1]);
            if (v == CASE_PASS)
                continue;
            if (v == CASE_FAIL) {
                size_t at = strlen(t->reason);
                snprintf(t->reason + at, t->cap - at, " (way %d)", w);
            }
            return v;
        }
    }
    return CASE_PASS;
}

verdict case_run(const char *folder, char *reason, size_t cap)
{
    char path[1200];
    test t = {.reason = reason, .cap = cap};
    verdict v = CASE_SKIP;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (fb_file_map(path, &t.map, &t.map_bytes) != FB_OK) {
        SAY(&t, "no model");
        return CASE_SKIP;
    }
    t.proto = onnx__model_proto__unpack(NULL, t.map_bytes, t.map);
    t.store = fb_imp_create();
    static const fb_onnx_options none = {0};
    if (!t.proto || !t.proto->graph || !t.store) {
        SAY(&t, "cannot be read");
        v = CASE_FAIL;
        goto done;
    }
    t.store->opt = &none;
    for (size_t i = 0; i < t.proto->graph->n_node; i++) {
        if (!is_supported(t.proto->graph->node[i])) {
            SAY(&t, "operator %s", t.proto->graph->node[i]->op_type);
            goto done;
        }
    }
    v = run_sets(&t, folder);
done:
    fb_imp_destroy(t.store);
    if (t.proto)
        onnx__model_proto__free_unpacked(t.proto, NULL);
    fb_file_unmap(t.map, t.map_bytes);
    return v;
}
