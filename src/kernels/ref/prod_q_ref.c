/* Look-up convolution, the plain truth: no tables, each product computed where it is wanted. One
 * tile is one output row. Packed: bias, scale, words, indices. */
#include "kernels/prod_q.h"

#include "numeric/requant.h"

#include <string.h>

static size_t word_count(const fbk_prod_q *c)
{
    return (size_t)c->groups * c->subs * c->stages * c->n_words * c->d;
}

static size_t index_count(const fbk_prod_q *c)
{
    return (size_t)c->oc * c->kh * c->kw * c->subs * c->stages;
}

bool fbk_prod_q_ref_plan(fbk_prod_q *c)
{
    c->band = c->strip = 1;
    c->n_bands = c->oh;
    c->oc_blocks = c->oc;
    c->n_splits = 1;
    c->n_tiles = c->n * c->oh;
    c->packed_bytes = (size_t)c->oc * 8 + word_count(c) + index_count(c);
    c->scratch_bytes = 0;
    return true;
}

typedef struct packed {
    int32_t *bias;
    float *scale;
    int8_t *word;
    uint8_t *index;
} packed;

static packed split(const fbk_prod_q *c)
{
    packed p;
    p.bias = c->packed;
    p.scale = (float *)(p.bias + c->oc);
    p.word = (int8_t *)(p.scale + c->oc);
    p.index = (uint8_t *)p.word + word_count(c);
    return p;
}

void fbk_prod_q_ref_pack(const fbk_prod_q *c, const fbk_prod_source *s)
{
    packed p = split(c);
    memcpy(p.bias, s->bias, c->oc * sizeof *p.bias);
    memcpy(p.scale, s->scale, c->oc * sizeof *p.scale);
    memcpy(p.word, s->word, word_count(c));
    memcpy(p.index, s->index, index_count(c));
}

/* The entry of one table: n elements of x against a codeword. */
static int32_t entry(const fbk_prod_q *c, const uint8_t *x, const int8_t *word, uint32_t n,
                     uint32_t stage)
{
    int32_t raw = 0, most = (1 << (c->table_bits - 1)) - 1;
    for (uint32_t j = 0; j < n; j++)
        raw += (x[j] - c->x_zero) * word[j];
    int32_t scaled = raw * c->mul[stage] + (1 << 14); /* |raw| < 2^15 */
    int32_t t = scaled >= 0 ? scaled >> 15 : -((-scaled + 32767) >> 15);
    return t > most ? most : t < -most - 1 ? -most - 1 : t;
}

/* One kernel position of one output: px is the group's first channel. */
static int32_t look_up(const fbk_prod_q *c, const uint8_t *px, const int8_t *words,
                       const uint8_t *index)
{
    uint32_t icg = c->ic / c->groups;
    int32_t sum = 0;
    for (uint32_t m = 0; m < c->subs; m++) {
        uint32_t n = icg - m * c->d < c->d ? icg - m * c->d : c->d;
        for (uint32_t s = 0; s < c->stages; s++) {
            size_t table = (size_t)m * c->stages + s;
            const int8_t *word = words + (table * c->n_words + index[table]) * c->d;
            sum += entry(c, px + m * c->d, word, n, s);
        }
    }
    return sum;
}

static int32_t sum_taps(const fbk_prod_q *c, const packed *p, const uint8_t *x, uint32_t y_row,
                        uint32_t y_col, uint32_t o)
{
    uint32_t group = o / (c->oc / c->groups);
    const int8_t *words = p->word + group * (word_count(c) / c->groups);
    uint32_t acc = (uint32_t)p->bias[o];
    for (uint32_t r = 0; r < c->kh; r++) {
        int64_t row = (int64_t)y_row * c->stride_h + (int64_t)r * c->dil_h - c->pad_t;
        if (row < 0 || row >= c->ih)
            continue;
        for (uint32_t s = 0; s < c->kw; s++) {
            int64_t col = (int64_t)y_col * c->stride_w + (int64_t)s * c->dil_w - c->pad_l;
            if (col < 0 || col >= c->iw)
                continue;
            const uint8_t *px = x + ((size_t)row * c->iw + (size_t)col) * c->ic;
            size_t tap = ((size_t)o * c->kh + r) * c->kw + s;
            acc += (uint32_t)look_up(c, px + group * (c->ic / c->groups), words,
                                     p->index + tap * c->subs * c->stages);
        }
    }
    return (int32_t)acc;
}

void fbk_prod_q_ref(const fbk_prod_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    (void)scratch;
    packed p = split(c);
    uint32_t image = tile / c->oh, row = tile % c->oh;
    const uint8_t *px = (const uint8_t *)x + (size_t)image * c->ih * c->iw * c->ic;
    size_t at = (size_t)tile * c->ow * c->oc;
    for (uint32_t col = 0; col < c->ow; col++) {
        for (uint32_t o = 0; o < c->oc; o++, at++) {
            int32_t acc = sum_taps(c, &p, px, row, col, o);
            if (c->f32_out) {
                float v = (float)acc * p.scale[o];
                v = v > c->act_lo ? v : c->act_lo;
                ((float *)y)[at] = v < c->act_hi ? v : c->act_hi;
            } else {
                ((uint8_t *)y)[at] =
                    (uint8_t)fb_requant(acc, p.scale[o], c->y_zero, c->y_lo, c->y_hi);
            }
        }
    }
}
