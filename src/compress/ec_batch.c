/* A pass over the codebooks, a batch at a time. */
#include "compress/ec_batch.h"

#include "base/alloc.h"
#include "base/size.h"
#include "compress/linalg.h"

#include <string.h>

enum {
    COLUMNS = 64,   /* a batch takes codebooks until it has so many */
    REPEATS = 2,    /* B- and D-steps of a codebook in a pass */
    PAIR_WORDS = 32 /* two stages of at most so many words are chosen together */
};

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "no memory to correct the codewords of a layer");
}

/* --- one batch ------------------------------------------------------------------------------- */

/* Room for batches of up to n_blocks vectors. */
static fb_status open_batch(fb_ec_batch *b, fb_ec *e, size_t n_blocks)
{
    const fb_words *w = e->w;
    size_t n = n_blocks * w->d, local = e->groups * n_blocks * w->n_stages * w->n_words;
    size_t room = FB_EC_ROWS * (2 * w->d + w->n_stages * w->n_words + n);
    bool pairs = w->n_stages > 1 && w->n_words <= PAIR_WORDS;
    *b = (fb_ec_batch){.e = e};
    b->column = fb_calloc(n, sizeof *b->column);
    b->h = fb_calloc(e->groups * n, n * sizeof *b->h);
    b->g = fb_calloc(w->ct * n, sizeof *b->g);
    b->move = fb_calloc(w->ct * n, sizeof *b->move);
    b->step = fb_calloc(w->ct * n, sizeof *b->step);
    b->hd = fb_calloc(local, w->d * sizeof *b->hd);
    b->q = fb_calloc(local, sizeof *b->q);
    b->pair = pairs ? fb_calloc(local, w->n_words * sizeof *b->pair) : NULL;
    b->slot = fb_calloc(w->ct * n_blocks, sizeof *b->slot);
    b->start = fb_calloc(w->n_words + 1, sizeof *b->start);
    b->room = fb_ec_rooms(e, room);
    return b->column && b->h && b->g && b->move && b->step && b->hd && b->q &&
                   (b->pair || !pairs) && b->slot && b->start && b->room
               ? FB_OK
               : no_memory();
}

static void close_batch(fb_ec_batch *b)
{
    fb_free(b->column);
    fb_free(b->h);
    fb_free(b->g);
    fb_free(b->move);
    fb_free(b->step);
    fb_free(b->hd);
    fb_free(b->q);
    fb_free(b->pair);
    fb_free(b->slot);
    fb_free(b->start);
    fb_ec_free_rooms(b->e, b->room);
}

/* Row i of h, of one group. */
static void load_h(void *ctx, uint32_t index, uint32_t worker)
{
    fb_ec_batch *b = ctx;
    size_t group = index / b->n, i = index % b->n;
    uint32_t c = b->column[i];
    double *to = b->h + (group * b->n + i) * b->n;
    (void)worker;
    memset(to, 0, b->n * sizeof *to);
    if (c == FB_WORDS_NONE)
        return;
    const fb_problem_part *s = fb_ec_part(b->e, group, b->e->cut_of[c]);
    const double *from = s->gram + (c - s->col) * s->d;
    for (size_t j = 0; j < b->n; j++) {
        if (b->column[j] >= s->col && b->column[j] - s->col < s->d)
            to[j] = from[b->column[j] - s->col];
    }
}

static void load_g(void *ctx, uint32_t index, uint32_t worker)
{
    fb_ec_batch *b = ctx;
    size_t group, row, n = fb_ec_task(b->e, index, &group, &row), inner = b->e->w->inner;
    (void)worker;
    for (size_t r = row; r < row + n; r++) {
        for (size_t i = 0; i < b->n; i++)
            b->g[r * b->n + i] =
                b->column[i] == FB_WORDS_NONE ? 0 : (double)b->e->g[r * inner + b->column[i]];
    }
    memset(b->move + row * b->n, 0, n * b->n * sizeof *b->move);
}

static void load(fb_ec_batch *b, size_t first, size_t n_blocks)
{
    const fb_words *w = b->e->w;
    b->first = first;
    b->n_blocks = n_blocks;
    b->n = n_blocks * w->d;
    for (size_t i = 0; i < n_blocks; i++)
        memcpy(b->column + i * w->d, w->column + fb_ec_block(b, i) * w->d,
               w->d * sizeof *b->column);
    fb_ec_run(b->e, b->e->groups * b->n, b->n, load_h, b);
    fb_ec_run(b->e, fb_ec_tasks(b->e), FB_EC_ROWS * b->n, load_g, b);
}

/* --- back to the whole gradient -------------------------------------------------------------- */

typedef struct spread {
    fb_ec_batch *b;
    size_t group, first, n; /* columns of the batch that lie in the part */
    const fb_problem_part *part;
    float *rows;  /* [n][part->d] of G */
    float **room; /* [workers] [FB_EC_ROWS][n] */
} spread;

static void narrow_row(void *ctx, uint32_t index, uint32_t worker)
{
    spread *s = ctx;
    uint32_t c = s->b->column[s->first + index];
    size_t d = s->part->d;
    float *to = s->rows + index * d;
    (void)worker;
    if (c == FB_WORDS_NONE || c < s->part->col || c - s->part->col >= d) {
        memset(to, 0, d * sizeof *to);
        return;
    }
    const double *from = s->part->gram + (c - s->part->col) * d;
    for (size_t j = 0; j < d; j++)
        to[j] = (float)from[j];
}

static void spread_rows(void *ctx, uint32_t index, uint32_t worker)
{
    spread *s = ctx;
    fb_ec *e = s->b->e;
    size_t at = (size_t)index * FB_EC_ROWS, row = s->group * e->group_rows + at;
    size_t n = e->group_rows - at < FB_EC_ROWS ? e->group_rows - at : FB_EC_ROWS;
    float *move = s->room[worker];
    bool moved = false;
    for (size_t r = 0; r < n; r++) {
        for (size_t i = 0; i < s->n; i++) {
            move[r * s->n + i] = (float)s->b->move[(row + r) * s->b->n + s->first + i];
            moved = moved || move[r * s->n + i] != 0;
        }
    }
    if (moved)
        fb_gemm_f32(false, false, n, s->part->d, s->n, 1, move, s->n, s->rows, s->part->d, 1,
                    e->g + row * e->w->inner + s->part->col, e->w->inner);
}

/* The columns of the batch from the first to the last that lie in a cut. */
static bool find_columns(spread *s, size_t cut)
{
    const fb_ec_batch *b = s->b;
    size_t last = 0;
    s->first = b->n;
    for (size_t i = 0; i < b->n; i++) {
        if (b->column[i] != FB_WORDS_NONE && b->e->cut_of[b->column[i]] == cut) {
            s->first = i < s->first ? i : s->first;
            last = i + 1;
        }
    }
    s->n = last > s->first ? last - s->first : 0;
    return s->n > 0;
}

static fb_status store(fb_ec_batch *b)
{
    fb_ec *e = b->e;
    spread s = {.b = b};
    size_t widest = 0, tasks = (e->group_rows + FB_EC_ROWS - 1) / FB_EC_ROWS;
    uint32_t workers = fb_pool_size(e->pool);
    for (uint32_t i = 0; i < e->p->n_parts; i++)
        widest = e->p->parts[i].d > widest ? e->p->parts[i].d : widest;
    float *room = fb_alloc((workers * FB_EC_ROWS * b->n + b->n * widest) * sizeof *room);
    s.room = fb_calloc(workers, sizeof *s.room);
    fb_status status = room && s.room ? FB_OK : no_memory();
    for (uint32_t i = 0; status == FB_OK && i < workers; i++)
        s.room[i] = room + i * FB_EC_ROWS * b->n;
    s.rows = room + workers * FB_EC_ROWS * b->n;
    for (size_t cut = 0; status == FB_OK && cut < e->n_cuts; cut++) {
        if (!find_columns(&s, cut))
            continue;
        for (s.group = 0; s.group < e->groups; s.group++) {
            s.part = fb_ec_part(e, s.group, cut);
            fb_ec_run(e, s.n, s.part->d, narrow_row, &s);
            fb_ec_run(e, tasks, FB_EC_ROWS * s.n * s.part->d, spread_rows, &s);
        }
    }
    fb_free(room);
    fb_free(s.room);
    return status;
}

/* --- a pass ---------------------------------------------------------------------------------- */

/* How many vectors the batch from `first` on takes; whole codebooks unless the layer is wide. */
static size_t batch_size(const fb_ec *e, size_t first)
{
    size_t n = 0, d = e->w->d;
    if (e->wide) {
        n = (COLUMNS + d - 1) / d;
        return n < e->w->n_blocks - first ? n : e->w->n_blocks - first;
    }
    for (size_t s = 0; s < e->n_sets && n * d < COLUMNS; s++) {
        if (e->set_first[s] >= first)
            n = e->set_first[s + 1] - first;
    }
    return n;
}

static fb_status solve_batch(fb_ec_batch *b)
{
    fb_ec *e = b->e;
    for (b->from = 0; b->from < b->n_blocks; b->from = b->to) {
        uint32_t book = e->w->book[fb_ec_block(b, b->from)];
        for (b->to = b->from + 1; b->to < b->n_blocks; b->to++) {
            if (!e->wide && e->w->book[fb_ec_block(b, b->to)] != book)
                break;
        }
        for (int k = 0; k < (e->wide ? 1 : REPEATS); k++) {
            if (e->o->moves & FB_EC_CODES)
                fb_ec_choose(b);
            if (!e->wide && (e->o->moves & FB_EC_WORDS))
                FB_TRY(fb_ec_fit(b));
        }
    }
    return FB_OK;
}

fb_status fb_ec_pass(fb_ec *e)
{
    fb_ec_batch b;
    size_t most = 0;
    fb_status status;
    if (e->wide && !(e->o->moves & FB_EC_CODES))
        return FB_OK;
    for (size_t at = 0, n; at < e->w->n_blocks; at += n) {
        n = batch_size(e, at);
        most = n > most ? n : most;
    }
    FB_GO(open_batch(&b, e, most));
    for (size_t at = 0; at < e->w->n_blocks; at += b.n_blocks) {
        load(&b, at, batch_size(e, at));
        FB_GO(solve_batch(&b));
        FB_GO(store(&b));
    }
fail:
    close_batch(&b);
    return status;
}
