/* What all layers of the adapter to oneDNN share: engine, primitives, their arguments. */
#include "train/dnnl_self.h"

/* GNU OpenMP, which Debian's oneDNN is built with; its header belongs to one compiler. */
extern void omp_set_num_threads(int n);
extern int omp_get_max_threads(void);
extern int omp_get_num_procs(void);

/* ---- primitives ------------------------------------------------------------------------------ */

fb_status fb_dnn_check(dnnl_status_t s, const char *what)
{
    if (s == dnnl_success)
        return FB_OK;
    if (s == dnnl_out_of_memory)
        return fb_fail(FB_E_MEMORY, "no memory for %s", what);
    return fb_fail(s == dnnl_unimplemented ? FB_E_UNSUPPORTED : FB_E_INTERNAL,
                   "oneDNN refuses %s (status %d)", what, (int)s);
}

fb_status fb_dnn_add_arg(const fb_dnn *d, fb_dnn_prim *p, int arg, const dnnl_memory_desc_t *md)
{
    FB_ENSURE(p->n < FB_DNN_ARGS);
    dnnl_memory_t memory;
    FB_DNN(dnnl_memory_create(&memory, md, d->engine, DNNL_MEMORY_NONE), "a buffer");
    p->args[p->n++] = (dnnl_exec_arg_t){arg, memory};
    return FB_OK;
}

/* Pointers in the order in which the arguments were added. */
fb_status fb_dnn_run(const fb_dnn *d, const fb_dnn_prim *p, const void *const *pointers)
{
    for (int i = 0; i < p->n; i++)
        FB_DNN(dnnl_memory_set_data_handle(p->args[i].memory, (void *)(uintptr_t)pointers[i]),
               "a buffer");
    FB_DNN(dnnl_primitive_execute(p->p, d->stream, p->n, p->args), "to run a layer");
    FB_DNN(dnnl_stream_wait(d->stream), "to finish a layer");
    return FB_OK;
}

static void drop(fb_dnn_prim *p)
{
    for (int i = 0; i < p->n; i++)
        (void)dnnl_memory_destroy(p->args[i].memory);
    if (p->p)
        (void)dnnl_primitive_destroy(p->p);
    *p = (fb_dnn_prim){0};
}

static void drop_weight(fb_dnn_weight *w)
{
    drop(&w->reorder);
    fb_free(w->room);
    w->room = NULL;
}

fb_status fb_dnn_create(uint32_t n_threads, fb_dnn **out)
{
    *out = NULL;
    if (n_threads > 256)
        return fb_fail(FB_E_ARG, "%u threads asked for; at most 256 are allowed", n_threads);
    fb_dnn *d = fb_calloc(1, sizeof *d);
    if (!d)
        return fb_fail(FB_E_MEMORY, "no memory for the training engine");
    omp_set_num_threads(n_threads ? (int)n_threads : omp_get_num_procs());
    d->n_threads = (uint32_t)omp_get_max_threads();
    fb_status status;
    FB_GO(fb_dnn_check(dnnl_engine_create(&d->engine, dnnl_cpu, 0), "an engine"));
    FB_GO(fb_dnn_check(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags),
                       "a stream"));
    *out = d;
    return FB_OK;
fail:
    fb_dnn_destroy(d);
    return status;
}

void fb_dnn_destroy(fb_dnn *d)
{
    if (!d)
        return;
    if (d->stream)
        (void)dnnl_stream_destroy(d->stream);
    if (d->engine)
        (void)dnnl_engine_destroy(d->engine);
    fb_free(d);
}

uint32_t fb_dnn_threads(const fb_dnn *d)
{
    return d->n_threads;
}

fb_status fb_dnn_new_layer(fb_dnn *d, fb_dnn_layer **out)
{
    *out = fb_calloc(1, sizeof **out);
    if (!*out)
        return fb_fail(FB_E_MEMORY, "no memory for a layer");
    (*out)->d = d;
    return FB_OK;
}

void fb_dnn_layer_destroy(fb_dnn_layer *l)
{
    if (!l)
        return;
    drop(&l->forward);
    drop(&l->data);
    drop(&l->weights);
    drop_weight(&l->w_forward);
    drop_weight(&l->w_data);
    drop_weight(&l->w_grad);
    fb_free(l->workspace);
    fb_free(l);
}

const dnnl_memory_desc_t *fb_dnn_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

fb_status fb_dnn_build(const fb_dnn *d, const_dnnl_primitive_desc_t pd, const fb_dnn_slot *slots,
                       fb_dnn_prim *p)
{
    FB_DNN(dnnl_primitive_create(&p->p, pd), "a layer");
    for (; slots->arg; slots++)
        FB_TRY(fb_dnn_add_arg(d, p, slots->arg, fb_dnn_md(pd, slots->query)));
    return FB_OK;
}

fb_status fb_dnn_build_reorder(const fb_dnn *d, const dnnl_memory_desc_t *from,
                               const dnnl_memory_desc_t *to, const dnnl_memory_desc_t *foreign,
                               fb_dnn_weight *w)
{
    dnnl_primitive_desc_t pd;
    if (dnnl_memory_desc_equal(from, to))
        return FB_OK;
    w->room = fb_alloc(dnnl_memory_desc_get_size(foreign));
    if (!w->room)
        return fb_fail(FB_E_MEMORY, "no memory for a layer's weights");
    FB_DNN(dnnl_reorder_primitive_desc_create(&pd, from, d->engine, to, d->engine, NULL),
           "a reorder");
    fb_status status = fb_dnn_check(dnnl_primitive_create(&w->reorder.p, pd), "a reorder");
    (void)dnnl_primitive_desc_destroy(pd);
    FB_TRY(status);
    FB_TRY(fb_dnn_add_arg(d, &w->reorder, DNNL_ARG_FROM, from));
    return fb_dnn_add_arg(d, &w->reorder, DNNL_ARG_TO, to);
}

fb_status fb_dnn_image(int64_t n, int64_t h, int64_t w, int64_t c, dnnl_memory_desc_t *md)
{
    dnnl_dims_t dims = {n, c, h, w};
    FB_DNN(dnnl_memory_desc_init_by_tag(md, 4, dims, dnnl_f32, dnnl_nhwc), "a shape");
    return FB_OK;
}
