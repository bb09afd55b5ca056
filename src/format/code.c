#include "format/code.h"

#include <string.h>

enum {
    CONTEXTS = 4,
    ONE = 1 << 16,    /* probabilities have 16 bits, */
    STRETCHES = 4096, /*   12 where they are mixed */
    COUNT_MOST = 60,  /* a slot adapts by 1/n up to here, then by this rate */
    WEIGHT_ONE = 65536,
    FEWEST_LOG2 = 10,
    MOST_LOG2 = 16
};

/* A prediction for one context and the bits of the byte so far. */
typedef struct slot {
    uint16_t p; /* that the next bit is 1, of 65536 */
    uint16_t n; /* bits seen */
} slot;

struct fb_coder {
    uint32_t low, high; /* the arithmetic coder's interval, both ends inside */
    uint32_t code;      /* decoding: 32 bits of input from where low and high begin */
    const uint8_t *in;
    size_t in_n, in_at;           /* bytes behind the end read as 0, and are counted */
    uint64_t history;             /* the last 8 bytes, the latest lowest */
    unsigned log2;                /* slots of a context */
    int32_t weight[8][CONTEXTS];  /* by period - 1 */
    int32_t rate[COUNT_MOST + 1]; /* of 65536, by bits seen */
    int16_t stretch[STRETCHES];
    slot slots[]; /* [CONTEXTS][1 << log2] */
};

/* 4096 / (1 + exp(-x / 256)) for x in -2047..2047: interpolated between 33 values. */
static int squash(int x)
{
    static const int16_t t[33] = {1,    2,    3,    6,    10,   16,   27,   45,   73,   120,  194,
                                  310,  488,  747,  1101, 1546, 2047, 2549, 2994, 3348, 3607, 3785,
                                  3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089, 4092, 4093, 4094};
    if (x > 2047)
        return 4095;
    if (x < -2047)
        return 1;
    int low = (x + 2048) >> 7, part = (x + 2048) & 127;
    return (t[low] * (128 - part) + t[low + 1] * part + 64) >> 7;
}

fb_coder *fb_coder_create(uint64_t raw)
{
    unsigned log2 = FEWEST_LOG2;
    while (log2 < MOST_LOG2 && ((uint64_t)1 << log2) < raw * 16)
        log2++;
    size_t n = (size_t)CONTEXTS << log2;
    fb_coder *c = fb_alloc(sizeof *c + n * sizeof c->slots[0]);
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    c->high = UINT32_MAX;
    c->log2 = log2;
    for (int i = 0; i < 8 * CONTEXTS; i++)
        c->weight[i / CONTEXTS][i % CONTEXTS] = WEIGHT_ONE * 2 / 5;
    for (int i = 0; i <= COUNT_MOST; i++)
        c->rate[i] = 2 * ONE / (2 * i + 3);
    for (size_t i = 0; i < n; i++)
        c->slots[i] = (slot){ONE / 2, 0};
    /* the inverse of squash: the least x that reaches each probability */
    int reached = 0;
    for (int x = -2047; x <= 2047; x++) {
        int p = squash(x);
        for (; reached <= p; reached++)
            c->stretch[reached] = (int16_t)x;
    }
    for (; reached < STRETCHES; reached++)
        c->stretch[reached] = 2047;
    return c;
}

/* ---- the model ------------------------------------------------------------------------------ */

/* What is known before a byte: the four contexts, as hashes. */
typedef struct known {
    uint32_t hash[CONTEXTS];
    unsigned period;
} known;

static known look_back(const fb_coder *c, unsigned lane, unsigned period)
{
    uint64_t h = c->history;
    uint64_t last = period == 1 ? h & 0xffffff : h >> (8 * (period - 1)) & 0xff;
    const uint64_t contexts[CONTEXTS] = {0, h & 0xff, h & 0xffff, last};
    known k = {.period = period};
    for (unsigned i = 0; i < CONTEXTS; i++) {
        uint64_t v = contexts[i] << 8 | lane << 4 | period;
        k.hash[i] = (uint32_t)((v + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    }
    return k;
}

typedef struct guess {
    slot *slot[CONTEXTS];
    int stretched[CONTEXTS];
    int mixed; /* 1..4095 of 4096 */
} guess;

/* `partial`: the bits of this byte so far behind a leading 1. */
static guess predict(fb_coder *c, const known *k, unsigned partial)
{
    guess g;
    int64_t sum = 0;
    const int32_t *w = c->weight[k->period - 1];
    for (unsigned i = 0; i < CONTEXTS; i++) {
        uint32_t at = (k->hash[i] + partial * 0x9e3779b1u) * 0x85ebca6bu >> (32 - c->log2);
        g.slot[i] = &c->slots[((size_t)i << c->log2) + at];
        g.stretched[i] = c->stretch[g.slot[i]->p >> 4];
        sum += (int64_t)w[i] * g.stretched[i];
    }
    int64_t x = sum / WEIGHT_ONE;
    g.mixed = squash(x > 2047 ? 2048 : x < -2047 ? -2048 : (int)x);
    return g;
}

static void learn(fb_coder *c, const known *k, const guess *g, unsigned bit)
{
    int32_t *w = c->weight[k->period - 1];
    int error = ((int)bit << 12) - g->mixed;
    for (unsigned i = 0; i < CONTEXTS; i++) {
        slot *s = g->slot[i];
        int64_t v = w[i] + g->stretched[i] * error / 128;
        w[i] = (int32_t)(v > 1 << 24 ? 1 << 24 : v < -(1 << 24) ? -(1 << 24) : v);
        int64_t way = (bit ? ONE - 1 : 0) - (int32_t)s->p;
        s->p = (uint16_t)(s->p + way * c->rate[s->n] / ONE);
        if (s->n < COUNT_MOST)
            s->n++;
    }
}

static void remember(fb_coder *c, unsigned byte)
{
    c->history = c->history << 8 | byte;
}

/* ---- the arithmetic coder ---------------------------------------------------------------------
 */

/* The last number of the part of the interval that means 1. */
static uint32_t divide(const fb_coder *c, int p)
{
    return c->low + (uint32_t)((uint64_t)(c->high - c->low) * (uint32_t)p >> 12);
}

static bool top_is_settled(const fb_coder *c)
{
    return (c->low ^ c->high) >> 24 == 0;
}

static void shift(fb_coder *c)
{
    c->low <<= 8;
    c->high = c->high << 8 | 255;
}

void fb_coder_encode(fb_coder *c, fb_out *out, const uint8_t *data, size_t n, unsigned period)
{
    for (size_t i = 0; i < n; i++) {
        known k = look_back(c, (unsigned)(i % period), period);
        unsigned partial = 1;
        for (int b = 7; b >= 0; b--) {
            unsigned bit = data[i] >> b & 1u;
            guess g = predict(c, &k, partial);
            uint32_t middle = divide(c, g.mixed);
            if (bit)
                c->high = middle;
            else
                c->low = middle + 1;
            for (; top_is_settled(c); shift(c))
                fb_out_u8(out, c->high >> 24);
            learn(c, &k, &g, bit);
            partial = partial << 1 | bit;
        }
        remember(c, data[i]);
    }
}

/* The ends differ in their first byte, so one more byte, followed by zeros, lies between them. */
void fb_coder_flush(fb_coder *c, fb_out *out)
{
    fb_out_u8(out, (c->low >> 24) + 1);
}

static uint32_t next_byte(fb_coder *c)
{
    size_t at = c->in_at++;
    return at < c->in_n ? c->in[at] : 0;
}

void fb_coder_start(fb_coder *c, const uint8_t *coded, size_t n)
{
    c->in = coded;
    c->in_n = n;
    for (int i = 0; i < 4; i++)
        c->code = c->code << 8 | next_byte(c);
}

void fb_coder_decode(fb_coder *c, uint8_t *data, size_t n, unsigned period)
{
    for (size_t i = 0; i < n; i++) {
        known k = look_back(c, (unsigned)(i % period), period);
        unsigned partial = 1;
        for (int b = 7; b >= 0; b--) {
            guess g = predict(c, &k, partial);
            uint32_t middle = divide(c, g.mixed);
            unsigned bit = c->code <= middle;
            if (bit)
                c->high = middle;
            else
                c->low = middle + 1;
            for (; top_is_settled(c); shift(c))
                c->code = c->code << 8 | next_byte(c);
            learn(c, &k, &g, bit);
            partial = partial << 1 | bit;
        }
        data[i] = (uint8_t)partial;
        remember(c, data[i]);
    }
}

bool fb_coder_done(const fb_coder *c)
{
    return c->in_at == c->in_n + 3;
}
