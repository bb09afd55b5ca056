/* Means and covariances of layers' responses. */
#include "compress/response.h"

#include "base/status.h"
#include "compress/linalg.h"
#include "compress/stage.h"

#include <math.h>

enum { ROWS = 256 }; /* samples that are added at once */

static fb_status response_init(fb_response *r, size_t m)
{
    *r = (fb_response){.m = m,
                       .mean = fb_calloc(m, sizeof *r->mean),
                       .covariance = fb_calloc(m * m, sizeof *r->covariance),
                       .rows = fb_calloc(ROWS * m, sizeof *r->rows)};
    if (!r->mean || !r->covariance || !r->rows)
        return fb_fail(FB_E_MEMORY, "no memory for the responses of %zu channels", m);
    return FB_OK;
}

void fb_response_free(fb_response *r)
{
    fb_free(r->mean);
    fb_free(r->covariance);
    fb_free(r->rows);
    *r = (fb_response){0};
}

static void flush(fb_response *r)
{
    for (size_t i = 0; i < r->held; i++) {
        for (size_t c = 0; c < r->m; c++)
            r->mean[c] += r->rows[i * r->m + c];
    }
    fb_syrk_f64(r->m, r->held, 1, r->rows, r->m, 1, r->covariance, r->m);
    r->n += r->held;
    r->held = 0;
}

static fb_status hear(void *user, uint32_t k, const fb_view *view)
{
    fb_response *r = (fb_response *)user + k;
    const float *x = view->data;
    for (size_t at = 0; at + r->m <= view->n_elems; at += r->m) {
        double *row = r->rows + r->held * r->m;
        for (size_t c = 0; c < r->m; c++) {
            row[c] = (double)x[at + c];
            if (!isfinite(row[c]))
                return fb_fail(FB_E_FORMAT, "a response is %g; responses must be finite", row[c]);
        }
        if (++r->held == ROWS)
            flush(r);
    }
    return FB_OK;
}

/* From sums to moments about the mean, of which only the upper triangle was summed. */
static void finish(fb_response *r)
{
    flush(r);
    double n = r->n ? (double)r->n : 1;
    for (size_t c = 0; c < r->m; c++)
        r->mean[c] /= n;
    for (size_t i = 0; i < r->m; i++) {
        for (size_t j = i; j < r->m; j++) {
            double *v = &r->covariance[i * r->m + j];
            *v = *v / n - r->mean[i] * r->mean[j];
        }
    }
    fb_symmetrize_f64(r->m, r->covariance, r->m);
    fb_free(r->rows);
    r->rows = NULL;
}

/* Clips of layers that were split before have moved it. */
static size_t find_writer(const fb_model *m, int32_t tensor)
{
    size_t i = 0;
    while (i + 1 < m->n_nodes && m->nodes[i].out[0] != tensor)
        i++;
    return i;
}

fb_status fb_response_gather(const fb_job *job, const uint32_t *nodes, uint32_t n,
                             fb_response *responses)
{
    const fb_model *m = job->model;
    fb_model *split = NULL;
    fb_samples samples = {0};
    int32_t *watched = fb_calloc(n, sizeof *watched);
    fb_status status;
    if (!watched) {
        status = fb_fail(FB_E_MEMORY, "no memory for the responses of %u layers", n);
        goto fail;
    }
    FB_GO(fb_model_clone(m, false, &split));
    for (uint32_t k = 0; k < n; k++) {
        int32_t name = m->nodes[nodes[k]].out[0];
        const fb_tensor *out = &m->tensors[name];
        FB_GO(response_init(&responses[k], (size_t)out->dims[out->rank - 1]));
        FB_GO(fb_node_split_act(split, find_writer(split, name), &watched[k]));
    }
    FB_GO(fb_samples_open(m, job->data, 0, &samples));
    fb_source source = fb_samples_source(&samples);
    fb_watch_options o = fb_job_watch(job, "responses");
    FB_GO(fb_watch(split, &source, watched, n, &o, hear, responses));
    for (uint32_t k = 0; k < n; k++)
        finish(&responses[k]);
fail:
    fb_samples_close(&samples);
    fb_model_close(&split);
    fb_free(watched);
    return status;
}
