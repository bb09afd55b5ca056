/* Walks the ONNX graph in order: binds names, calls the operators' functions, unrolls functions and
 * collects what is not supported. Each input must be bound before it is read, which rules out
 * cycles and missing tensors. */
#include "import/import.h"

#include <stdio.h>
#include <string.h>

/* ---- the list of what is not supported ----------------------------------------------------- */

static _Thread_local char unsupported[32768];

const char *fb_imp_unsupported_text(void)
{
    return unsupported;
}

void fb_imp_unsupported_clear(void)
{
    unsupported[0] = '\0';
}

static void note_unsupported(fb_imp *im, const char *name, const char *op, const char *reason)
{
    size_t at = strlen(unsupported);
    im->n_unsupported++;
    int n = snprintf(unsupported + at, sizeof unsupported - at, "%.200s: %.100s: %s\n", name, op,
                     reason);
    if (n < 0 || (size_t)n >= sizeof unsupported - at)
        unsupported[at] = '\0'; /* full: the count still says how many there are */
    for (char *p = unsupported + at; *p; p++) {
        if (((unsigned char)*p < 32 && *p != '\n') || *p == 127)
            *p = '?';
    }
}

/* The first few lines as one sentence. */
static fb_status fail_unsupported(const fb_imp *im)
{
    char few[700];
    size_t n = 0, lines = 0;
    for (const char *p = unsupported; *p && lines < 4; lines++) {
        size_t len = strcspn(p, "\n");
        if (n + len + 3 > sizeof few)
            break;
        n += (size_t)snprintf(few + n, sizeof few - n, "%s%.*s", lines ? "; " : "", (int)len, p);
        p += len + (p[len] == '\n');
    }
    return fb_fail(FB_E_UNSUPPORTED, "%zu node%s not supported: %s%s", im->n_unsupported,
                   im->n_unsupported == 1 ? " is" : "s are", few,
                   im->n_unsupported > lines ? "; ..." : "");
}

/* ---- names --------------------------------------------------------------------------------- */

static size_t hash(const char *s)
{
    uint64_t h = 1469598103934665603u;
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static fb_imp_entry *slot(fb_imp_entry *entries, size_t cap, const char *name)
{
    size_t i = hash(name) & (cap - 1);
    while (entries[i].name && strcmp(entries[i].name, name) != 0)
        i = (i + 1) & (cap - 1);
    return &entries[i];
}

static fb_imp_entry *find(const fb_imp_scope *s, const char *name)
{
    fb_imp_entry *e = s->cap ? slot(s->entries, s->cap, name) : NULL;
    return e && e->name ? e : NULL;
}

/* The entry of a name, made if need be; NULL: no memory. */
static fb_imp_entry *enter(fb_imp_scope *s, const char *name)
{
    if (s->n * 2 >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        fb_imp_entry *entries = fb_calloc(cap, sizeof *entries);
        if (!entries)
            return NULL;
        for (size_t i = 0; i < s->cap; i++) {
            if (s->entries[i].name)
                *slot(entries, cap, s->entries[i].name) = s->entries[i];
        }
        fb_free(s->entries);
        s->entries = entries;
        s->cap = cap;
    }
    fb_imp_entry *e = slot(s->entries, s->cap, name);
    if (!e->name) {
        *e = (fb_imp_entry){.name = name, .value = -1};
        s->n++;
    }
    return e;
}

static fb_status count_reads(fb_imp_scope *s, Onnx__NodeProto **nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < nodes[i]->n_input; k++) {
            fb_imp_entry *e = nodes[i]->input[k][0] ? enter(s, nodes[i]->input[k]) : NULL;
            if (!e && nodes[i]->input[k][0])
                return fb_imp_no_memory();
            if (e)
                e->reads++;
        }
    }
    return FB_OK;
}

static fb_status bind(fb_imp *im, fb_imp_scope *s, const char *name, int32_t v)
{
    fb_imp_entry *e = enter(s, name);
    if (!e)
        return fb_imp_no_memory();
    if (e->value >= 0 || e->init)
        return fb_fail(FB_E_FORMAT, "tensor '%s' is defined twice", name);
    e->value = v;
    fb_imp_value *value = fb_imp_at(im, v);
    value->pending += e->reads;
    if (value->name[0] == '\0') {
        size_t n = strlen(s->prefix) + strlen(name);
        char *text = n <= FB_LIMIT_NAME ? fb_arena_alloc(im->arena, n + 1) : NULL;
        if (!text)
            return fb_fail(FB_E_LIMIT, "a tensor name is longer than %d bytes", FB_LIMIT_NAME);
        memcpy(text, s->prefix, strlen(s->prefix));
        memcpy(text + strlen(s->prefix), name, strlen(name) + 1);
        value->name = text;
    }
    return FB_OK;
}

static fb_status lookup(fb_imp *im, fb_imp_scope *s, const char *name, int32_t *v)
{
    fb_imp_entry *e = find(s, name);
    if (e && e->init) {
        Onnx__TensorProto *init = e->init;
        FB_TRY(fb_imp_tensor(im, init, e->name, v));
        e->init = NULL;
        e->value = *v;
        fb_imp_at(im, *v)->pending += e->reads;
        return FB_OK;
    }
    if (!e || e->value < 0)
        return fb_fail(FB_E_FORMAT,
                       "tensor '%s' is not a graph input, an initializer or an output of an "
                       "earlier node",
                       name);
    *v = e->value;
    return FB_OK;
}

bool fb_imp_has_output(const fb_imp *im, uint32_t k)
{
    const Onnx__NodeProto *n = im->cur->node;
    return k < n->n_output && n->output[k][0] != '\0';
}

fb_status fb_imp_set(fb_imp *im, uint32_t k, int32_t v)
{
    if (!fb_imp_has_output(im, k))
        return FB_OK;
    return bind(im, im->cur->scope, im->cur->node->output[k], v);
}

/* ---- one node ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    fb_imp_fn fn;
} ops[] = {
#define FB_ONNX(name, fn) {name, fn},
#include "import/ops.inc"
#undef FB_ONNX
};

static fb_imp_fn find_op(const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].name, name) == 0)
            return ops[i].fn;
    }
    return NULL;
}

/* Outputs that the failed node did not bind become unknown. */
static fb_status bind_unknown(fb_imp *im, fb_imp_scope *s, const Onnx__NodeProto *node)
{
    for (size_t k = 0; k < node->n_output; k++) {
        const fb_imp_entry *e = node->output[k][0] ? find(s, node->output[k]) : NULL;
        if (node->output[k][0] == '\0' || (e && e->value >= 0))
            continue;
        int32_t v;
        FB_TRY(fb_imp_add_value(im, "", &(fb_shape){0}, &v));
        FB_TRY(bind(im, s, node->output[k], v));
    }
    return FB_OK;
}

/* Frees constants that nothing will read any more. */
static void release(fb_imp *im, const int32_t *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        fb_imp_value *v = in[i] >= 0 ? fb_imp_at(im, in[i]) : NULL;
        if (v && v->pending > 0 && --v->pending == 0 && v->uses == 0 && v->is_const) {
            fb_imp_buf_drop(&v->buf);
            fb_imp_buf_drop(&v->alt);
        }
    }
}

static int64_t opset_of(Onnx__OperatorSetIdProto **sets, size_t n, const char *domain)
{
    for (size_t i = 0; i < n; i++) {
        const char *d = sets[i]->domain ? sets[i]->domain : "";
        bool standard = d[0] == '\0' || strcmp(d, "ai.onnx") == 0;
        if (domain[0] == '\0' ? standard : strcmp(d, domain) == 0)
            return sets[i]->version;
    }
    return 0;
}

static const Onnx__FunctionProto *find_function(const fb_imp *im, const char *domain,
                                                const char *op)
{
    for (size_t i = 0; i < im->proto->n_functions; i++) {
        const Onnx__FunctionProto *f = im->proto->functions[i];
        if (f->name && strcmp(f->name, op) == 0 && strcmp(f->domain ? f->domain : "", domain) == 0)
            return f;
    }
    return NULL;
}

static fb_status run_nodes(fb_imp *im, const fb_imp_call *outer, fb_imp_scope *scope,
                           Onnx__NodeProto **nodes, size_t n, int64_t opset, unsigned depth);

/* The nodes of a function in place of the call, in a scope of their own. */
static fb_status call_function(fb_imp *im, const fb_imp_call *call, const Onnx__FunctionProto *f,
                               unsigned depth)
{
    if (depth >= FB_IMP_DEPTH)
        return fb_imp_no(im, "functions nest deeper than %d", FB_IMP_DEPTH);
    if (call->n_in > f->n_input || call->node->n_output > f->n_output)
        return fb_imp_bad(im, "has more inputs or outputs than the function of that name");
    fb_imp_scope scope = {0};
    size_t n = strlen(call->name);
    char *prefix = fb_arena_alloc(im->arena, n + 2);
    if (!prefix)
        return fb_imp_no_memory();
    memcpy(prefix, call->name, n);
    prefix[n] = '/';
    scope.prefix = prefix;
    int64_t opset = opset_of(f->opset_import, f->n_opset_import, "");
    fb_status status;
    FB_GO(count_reads(&scope, f->node, f->n_node));
    for (size_t i = 0; i < f->n_output;
         i++) { /* outputs are read by this call: kept till the end */
        fb_imp_entry *e = enter(&scope, f->output[i]);
        if (!e) {
            status = fb_imp_no_memory();
            goto fail;
        }
        e->reads++;
    }
    for (uint32_t i = 0; i < call->n_in; i++) {
        if (call->in[i] >= 0 && f->input[i][0])
            FB_GO(bind(im, &scope, f->input[i], call->in[i]));
    }
    FB_GO(run_nodes(im, call, &scope, f->node, f->n_node, opset ? opset : call->opset, depth + 1));
    im->cur = call;
    for (size_t k = 0; k < call->node->n_output; k++) {
        int32_t v;
        FB_GO(lookup(im, &scope, f->output[k], &v));
        FB_GO(fb_imp_set(im, (uint32_t)k, v));
    }
fail:
    fb_free(scope.entries);
    return status;
}

/* Why an operator without a row cannot be taken. */
static fb_status refuse(fb_imp *im, const char *domain, const char *op)
{
    for (size_t i = 0; i < im->cur->node->n_attribute; i++) {
        const Onnx__AttributeProto *a = im->cur->node->attribute[i];
        if (a->g || a->n_graphs)
            return fb_imp_no(im, "holds a subgraph; control flow (If, Loop, Scan) must be "
                                 "unrolled or traced away before the export");
    }
    if (domain[0])
        return fb_imp_no(im, "operator of the domain '%s', which is not known here", domain);
    return fb_imp_no(im, "operator '%s' is not supported", op);
}

static fb_status dispatch(fb_imp *im, const fb_imp_call *call, unsigned depth)
{
    const char *domain = call->node->domain ? call->node->domain : "";
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    bool known = true;
    for (uint32_t i = 0; i < call->n_in; i++)
        known = known && (call->in[i] < 0 || fb_imp_shape(im, call->in[i])->dtype != 0);
    fb_imp_fn fn = domain[0] ? NULL : find_op(call->op);
    const Onnx__FunctionProto *f = fn ? NULL : find_function(im, domain, call->op);
    if (!fn && !f)
        return refuse(im, domain, call->op);
    if (!known)
        return bind_unknown(im, call->scope, call->node);
    return fn ? fn(im) : call_function(im, call, f, depth);
}

static const char *node_name(fb_imp *im, const fb_imp_scope *s, const Onnx__NodeProto *node,
                             size_t index)
{
    char text[64];
    const char *name = node->name;
    if (!name || !name[0]) {
        snprintf(text, sizeof text, "%.40s_%zu", node->op_type ? node->op_type : "", index);
        name = text;
    }
    size_t np = strlen(s->prefix), n = strlen(name);
    char *full = np + n <= FB_LIMIT_NAME ? fb_arena_alloc(im->arena, np + n + 1) : NULL;
    if (full) {
        memcpy(full, s->prefix, np);
        memcpy(full + np, name, n + 1);
    }
    return full;
}

static fb_status run_node(fb_imp *im, fb_imp_call *call, size_t index, unsigned depth)
{
    const Onnx__NodeProto *node = call->node;
    if (++im->n_visits > FB_IMP_VISITS)
        return fb_fail(FB_E_LIMIT, "more than %d nodes", FB_IMP_VISITS);
    call->op = node->op_type ? node->op_type : "";
    call->name = node_name(im, call->scope, node, index);
    if (!call->name)
        return fb_fail(FB_E_LIMIT, "a node name is longer than %d bytes", FB_LIMIT_NAME);
    int32_t *in = fb_arena_array(im->arena, node->n_input, sizeof *in);
    if (!in)
        return fb_imp_no_memory();
    for (size_t k = 0; k < node->n_input; k++) {
        in[k] = -1;
        fb_status status = FB_OK;
        if (node->input[k][0])
            status = lookup(im, call->scope, node->input[k], &in[k]);
        if (status == FB_E_UNSUPPORTED) { /* an initializer of an odd type */
            note_unsupported(im, call->name, call->op, fb_error());
            return bind_unknown(im, call->scope, node);
        }
        if (status != FB_OK)
            return fb_fail_in(status, "node '%s' (%s)", call->name, call->op);
    }
    call->in = in;
    call->n_in = (uint32_t)node->n_input;
    im->cur = call;
    fb_status status = dispatch(im, call, depth);
    im->cur = call;
    if (status == FB_E_UNSUPPORTED) {
        note_unsupported(im, call->name, call->op, im->reason);
        status = FB_OK;
    }
    if (status == FB_OK)
        status = bind_unknown(im, call->scope, node);
    release(im, in, call->n_in);
    im->cur = NULL;
    return status;
}

static fb_status run_nodes(fb_imp *im, const fb_imp_call *outer, fb_imp_scope *scope,
                           Onnx__NodeProto **nodes, size_t n, int64_t opset, unsigned depth)
{
    for (size_t i = 0; i < n; i++) {
        fb_imp_call call = {.outer = outer, .scope = scope, .node = nodes[i], .opset = opset};
        FB_TRY(run_node(im, &call, i, depth));
    }
    return FB_OK;
}

/* ---- graph inputs and outputs -------------------------------------------------------------- */

static fb_status input_shape(fb_imp *im, const Onnx__ValueInfoProto *info, fb_shape *s)
{
    const Onnx__TypeProto *type = info->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' is not a tensor", info->name);
    const Onnx__TypeProto__Tensor *t = type->tensor_type;
    s->dtype = fb_imp_dtype(t->elem_type);
    if (s->dtype == 0)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' has the ONNX element type %d%s", info->name,
                       (int)t->elem_type, t->elem_type == 8 ? " (strings)" : "");
    if (!t->shape)
        return fb_fail(FB_E_UNSUPPORTED,
                       "input '%s' has no shape; export with a fixed one (only the first dim may "
                       "be symbolic)",
                       info->name);
    if (t->shape->n_dim > FB_MAX_RANK)
        return fb_fail(FB_E_UNSUPPORTED, "input '%s' has %zu dims; at most %d are possible",
                       info->name, t->shape->n_dim, FB_MAX_RANK);
    s->rank = (int32_t)t->shape->n_dim;
    for (int32_t i = 0; i < s->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        bool named = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        if (fixed && (d->dim_value > 0 || i > 0)) {
            s->dims[i] = d->dim_value;
        } else if (i == 0) {
            s->dims[i] = im->opt->batch > 0 ? im->opt->batch : FB_BATCH_MARK;
        } else {
            return fb_fail(FB_E_UNSUPPORTED,
                           "input '%s': dim %d ('%s') is symbolic; only the first (the batch) may "
                           "be, export with the others fixed",
                           info->name, (int)i, named && d->dim_param ? d->dim_param : "?");
        }
        if (s->dims[i] < 1 || s->dims[i] > FB_LIMIT_DIM)
            return fb_fail(FB_E_FORMAT, "input '%s': dim %d is %lld, must be within 1..2^31",
                           info->name, (int)i, (long long)s->dims[i]);
    }
    return FB_OK;
}

static fb_status bind_parameter(fb_imp *im, fb_imp_scope *s, const char *name,
                                const fb_onnx_binding *b)
{
    int32_t v;
    if (b->rank > FB_MAX_RANK || fb_dtype_bytes(b->dtype) == 0)
        return fb_fail(FB_E_ARG, "binding of '%s' has rank %u and dtype %d", name, b->rank,
                       (int)b->dtype);
    FB_TRY(fb_imp_add_const(im, name, b->dtype, (int32_t)b->rank, b->dims, &v));
    if (fb_imp_at(im, v)->buf->bytes)
        memcpy(fb_imp_data(im, v), b->data, fb_imp_at(im, v)->buf->bytes);
    return bind(im, s, name, v);
}

static fb_status graph_input(fb_imp *im, fb_imp_scope *s, const Onnx__ValueInfoProto *info)
{
    if (!info->name || !info->name[0])
        return fb_fail(FB_E_FORMAT, "a graph input has no name");
    for (uint32_t i = 0; i < im->opt->n_bindings; i++) {
        if (strcmp(im->opt->bindings[i].input, info->name) == 0)
            return bind_parameter(im, s, info->name, &im->opt->bindings[i]);
    }
    const fb_imp_entry *e = find(s, info->name);
    if (e && e->init) /* an initializer with a place among the inputs, as before IR version 4 */
        return FB_OK;
    fb_shape shape = {0};
    int32_t v;
    if (im->n_inputs == FB_IMP_MOST)
        return fb_fail(FB_E_LIMIT, "more than %d inputs", FB_IMP_MOST);
    FB_TRY(input_shape(im, info, &shape));
    FB_TRY(fb_imp_add_value(im, "", &shape, &v));
    fb_imp_at(im, v)->is_input = true;
    im->inputs[im->n_inputs++] = v;
    return bind(im, s, info->name, v);
}

/* Each output is a value of its own, produced by a node and named as in the file. */
static fb_status graph_output(fb_imp *im, fb_imp_scope *s, const Onnx__ValueInfoProto *info)
{
    int32_t v;
    if (!info->name || !info->name[0])
        return fb_fail(FB_E_FORMAT, "a graph output has no name");
    FB_TRY(lookup(im, s, info->name, &v));
    const fb_imp_value *value = fb_imp_at(im, v);
    if (value->shape.dtype == 0)
        return FB_OK; /* is on the list already */
    if (value->alt)
        return fb_fail(FB_E_UNSUPPORTED,
                       "output '%s' depends on the batch size; import with a fixed batch",
                       info->name);
    bool taken = value->producer < 0;
    for (uint32_t i = 0; i < im->n_outputs; i++)
        taken = taken || im->outputs[i] == v;
    if (taken) {
        fb_attr a = {.shape = {.rank = value->shape.rank}};
        int32_t copy;
        for (int32_t i = 0; i < value->shape.rank; i++) {
            if (value->shape.dims[i] == 0)
                return fb_fail(FB_E_UNSUPPORTED, "output '%s' is empty", info->name);
            a.shape.dims[i] = fb_imp_dim(value->shape.dims[i]);
        }
        FB_TRY(fb_imp_add_value(im, "", &value->shape, &copy));
        FB_TRY(fb_imp_copy_encoding(im, &value->enc, &fb_imp_at(im, copy)->enc));
        FB_TRY(fb_imp_add_node(im, FB_OP_RESHAPE, info->name, &a, 1, &v, 1, &copy));
        v = copy;
    }
    if (fb_imp_at(im, v)->is_const == false)
        fb_imp_at(im, v)->name = info->name;
    im->outputs[im->n_outputs++] = v;
    return FB_OK;
}

static fb_status read_names(fb_imp *im, fb_imp_scope *s, const Onnx__GraphProto *g)
{
    FB_TRY(count_reads(s, g->node, g->n_node));
    for (size_t i = 0; i < g->n_output; i++) {
        fb_imp_entry *e = g->output[i]->name ? enter(s, g->output[i]->name) : NULL;
        if (e)
            e->reads++;
    }
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = g->initializer[i]->name;
        if (!name || !name[0])
            return fb_fail(FB_E_FORMAT, "initializer %zu has no name", i);
        fb_imp_entry *e = enter(s, name);
        if (!e)
            return fb_imp_no_memory();
        if (e->init)
            return fb_fail(FB_E_FORMAT, "tensor '%s' is defined twice", name);
        bool bound = false;
        for (uint32_t k = 0; k < im->opt->n_bindings; k++)
            bound = bound || strcmp(im->opt->bindings[k].input, name) == 0;
        if (!bound)
            e->init = g->initializer[i];
    }
    for (size_t i = 0; i < g->n_input; i++)
        FB_TRY(graph_input(im, s, g->input[i]));
    for (uint32_t i = 0; i < im->opt->n_bindings; i++) {
        const fb_imp_entry *e = find(s, im->opt->bindings[i].input);
        if (!e || e->value < 0)
            return fb_fail(FB_E_ARG, "there is no input '%s' to bind", im->opt->bindings[i].input);
    }
    return FB_OK;
}

fb_status fb_imp_walk(fb_imp *im)
{
    const Onnx__GraphProto *g = im->proto->graph;
    fb_imp_scope scope = {.prefix = ""};
    int64_t opset = opset_of(im->proto->opset_import, im->proto->n_opset_import, "");
    fb_status status = FB_OK;
    if (opset < 1 || opset > FB_IMP_OPSET_MAX)
        return fb_fail(opset < 1 ? FB_E_FORMAT : FB_E_UNSUPPORTED,
                       "ONNX opset %lld; versions 1 to %d are supported (export with "
                       "opset_version=17)",
                       (long long)opset, FB_IMP_OPSET_MAX);
    if (g->n_output > FB_IMP_MOST || im->proto->n_functions > FB_IMP_MOST)
        return fb_fail(FB_E_LIMIT, "more than %d outputs or functions", FB_IMP_MOST);
    im->inputs = fb_arena_array(im->arena, FB_IMP_MOST, sizeof(int32_t));
    im->outputs = fb_arena_array(im->arena, g->n_output, sizeof(int32_t));
    if (!im->inputs || !im->outputs)
        return fb_imp_no_memory();
    FB_GO(read_names(im, &scope, g));
    FB_GO(run_nodes(im, NULL, &scope, g->node, g->n_node, opset, 0));
    for (size_t i = 0; i < g->n_output; i++)
        FB_GO(graph_output(im, &scope, g->output[i]));
    if (im->n_unsupported)
        status = fail_unsupported(im);
    else if (im->n_outputs == 0)
        status = fb_fail(FB_E_FORMAT, "the graph has no outputs");
fail:
    fb_free(scope.entries);
    return status;
}
