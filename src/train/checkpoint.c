#include "train/checkpoint.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

#include <string.h>
#include <unistd.h>

static const char magic[8] = "FBTRAIN1";

/* ---- both ways over the same fields ---------------------------------------------------------- */

/* A file being written (stream) or read (bytes). */
typedef struct pass {
    FILE *stream;
    const uint8_t *bytes;
    size_t left;
    fb_hash hash;
    bool bad;
} pass;

static void field(pass *p, void *data, size_t n)
{
    if (p->bad)
        return;
    if (p->stream) {
        p->bad = fwrite(data, 1, n, p->stream) != n;
        fb_hash_add(&p->hash, data, n);
    } else if (n > p->left) {
        p->bad = true;
    } else {
        memcpy(data, p->bytes, n);
        p->bytes += n;
        p->left -= n;
    }
}

/* A number that must be what it is already. */
static void same(pass *p, uint64_t value)
{
    uint64_t v = value;
    field(p, &v, sizeof v);
    p->bad = p->bad || v != value;
}

static void run_fields(pass *p, fb_run_state *run)
{
    field(p, &run->step, sizeof run->step);
    field(p, &run->loss, sizeof run->loss);
    field(p, &run->correct, sizeof run->correct);
    field(p, &run->seconds, sizeof run->seconds);
    field(p, &run->n_rows, sizeof run->n_rows);
    p->bad = p->bad || run->n_rows > run->max_rows;
    for (uint32_t i = 0; !p->bad && i < run->n_rows; i++)
        field(p, &run->rows[i], sizeof run->rows[i]);
}

static void param_fields(pass *p, const fb_optim *o, const fb_average *average)
{
    same(p, o->n);
    for (uint32_t i = 0; i < o->n; i++) {
        const fb_param *param = fb_net_param(o->net, i);
        float *arrays[] = {param->w, o->first[i], o->second ? o->second[i] : NULL,
                           average ? average->a[i] : NULL};
        uint64_t present = 0;
        for (int k = 0; k < 4; k++)
            present |= (uint64_t)(arrays[k] != NULL) << k;
        same(p, param->n);
        same(p, present);
        for (int k = 0; k < 4; k++) {
            if (arrays[k])
                field(p, arrays[k], param->n * sizeof(float));
        }
    }
}

static void part_fields(pass *p, const fb_run_parts *parts)
{
    param_fields(p, parts->optim, parts->average);
    same(p, parts->n_blobs);
    for (size_t i = 0; i < parts->n_blobs; i++) {
        same(p, parts->blobs[i].bytes);
        field(p, parts->blobs[i].data, parts->blobs[i].bytes);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

fb_status fb_checkpoint_write(const char *path, uint64_t key, const fb_run_state *run,
                              const fb_run_parts *parts)
{
    fb_file file;
    FB_TRY(fb_file_create(path, &file));
    pass p = {.stream = file.stream};
    fb_run_state copy = *run;
    char head[8];
    memcpy(head, magic, sizeof head);
    fb_hash_init(&p.hash);
    field(&p, head, sizeof head);
    field(&p, &key, sizeof key);
    run_fields(&p, &copy);
    part_fields(&p, parts);
    uint64_t sum = fb_hash_end(&p.hash);
    field(&p, &sum, sizeof sum);
    return fb_file_commit(&file); /* sees what the stream could not take */
}

/* ---- reading --------------------------------------------------------------------------------- */

static fb_status read_fields(const char *path, const uint8_t *data, size_t bytes, uint64_t key,
                             fb_run_state *run, const fb_run_parts *parts)
{
    uint64_t sum, found = 0;
    char head[8];
    if (bytes < sizeof sum + sizeof head || memcmp(data, magic, sizeof head) != 0)
        return fb_fail(FB_E_FORMAT, "'%s' is not a state of a training run", path);
    memcpy(&sum, data + bytes - sizeof sum, sizeof sum);
    if (fb_hash64(data, bytes - sizeof sum) != sum)
        return fb_fail(FB_E_FORMAT, "'%s' is damaged: its checksum does not fit", path);
    pass p = {.bytes = data, .left = bytes - sizeof sum};
    field(&p, head, sizeof head);
    field(&p, &found, sizeof found);
    if (found != key)
        return fb_fail(FB_E_ARG,
                       "'%s' is the state of another run: model, data or options differ; remove it "
                       "to start anew",
                       path);
    run_fields(&p, run);
    part_fields(&p, parts);
    if (p.bad || p.left != 0)
        return fb_fail(FB_E_FORMAT, "'%s' does not fit the network", path);
    return FB_OK;
}

fb_status fb_checkpoint_read(const char *path, uint64_t key, fb_run_state *run,
                             const fb_run_parts *parts, bool *found)
{
    void *data;
    size_t bytes;
    *found = access(path, F_OK) == 0;
    if (!*found)
        return FB_OK;
    FB_TRY(fb_file_read(path, SIZE_MAX / 4, &data, &bytes));
    fb_status status = read_fields(path, data, bytes, key, run, parts);
    fb_free(data);
    return status;
}
