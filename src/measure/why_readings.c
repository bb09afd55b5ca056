/* Ways to read labels: as they are, off by one, or through a map learned from half of the images
 * and judged on the other. */
#include "measure/why.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- readings ----------------------------------------------------------------------------------
 */

/* Pairs of one half, sorted: the most frequent `b` of each `a`, the smaller of two as frequent. */
typedef struct pair {
    uint32_t a, b;
} pair;

static int by_both(const void *x, const void *y)
{
    const pair *p = x, *q = y;
    if (p->a != q->a)
        return p->a < q->a ? -1 : 1;
    return p->b < q->b ? -1 : p->b > q->b;
}

/* mode[a] for every a that there is; others keep what they had. */
static void find_modes(pair *pairs, size_t n, uint32_t *mode)
{
    size_t most = 0;
    qsort(pairs, n, sizeof *pairs, by_both);
    for (size_t i = 0, run = 0; i < n; i++) {
        bool same = i > 0 && pairs[i - 1].a == pairs[i].a;
        run = same && pairs[i - 1].b == pairs[i].b ? run + 1 : 1;
        if (!same)
            most = 0;
        if (run > most) {
            most = run;
            mode[pairs[i].a] = pairs[i].b;
        }
    }
}

typedef struct halves {
    uint32_t n_labels;
    uint8_t *half;  /* [n] of each image: its turn among those of its label */
    pair *pairs;    /* [n] */
    uint32_t *seen; /* [n_labels] images of the label */
    uint32_t *to;   /* [n_labels] class that a label is answered with */
    uint32_t *back; /* [classes] label that a class is the answer to */
} halves;

static void free_halves(halves *h)
{
    fb_free(h->half);
    fb_free(h->pairs);
    fb_free(h->seen);
    fb_free(h->to);
    fb_free(h->back);
}

static bool make_halves(const fb_why_state *s, const fb_trial *t, halves *h)
{
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->label[i] >= 0 && (uint32_t)t->label[i] >= h->n_labels)
            h->n_labels = (uint32_t)t->label[i] + 1;
    }
    h->half = fb_calloc((size_t)t->n, 1);
    h->pairs = fb_calloc((size_t)t->n, sizeof *h->pairs);
    h->seen = fb_calloc((size_t)h->n_labels + 1, sizeof *h->seen);
    h->to = fb_calloc((size_t)h->n_labels + 1, sizeof *h->to);
    h->back = fb_calloc((size_t)s->classes + 1, sizeof *h->back);
    if (!h->half || !h->pairs || !h->seen || !h->to || !h->back)
        return false;
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->label[i] >= 0)
            h->half[i] = (uint8_t)(h->seen[t->label[i]]++ & 1);
    }
    return true;
}

/* Learns the map from one half: a label means a class where each is the other's most frequent. */
static void learn(const fb_why_state *s, const fb_trial *t, halves *h, uint8_t half)
{
    size_t n = 0;
    memset(h->to, 0xff, h->n_labels * sizeof *h->to);
    memset(h->back, 0xff, s->classes * sizeof *h->back);
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->label[i] >= 0 && h->half[i] == half)
            h->pairs[n++] = (pair){(uint32_t)t->label[i], t->top[i]};
    }
    find_modes(h->pairs, n, h->to);
    for (size_t i = 0; i < n; i++)
        h->pairs[i] = (pair){h->pairs[i].b, h->pairs[i].a};
    find_modes(h->pairs, n, h->back);
}

/* A map must do better than the one that says the most frequent label every time, which a network
 * that always answers the same would earn. */
static bool is_map(const fb_trial *t, const halves *h, uint64_t hits)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < t->n; i++) {
        if (t->label[i] >= 0 && h->seen[t->label[i]] > most)
            most = h->seen[t->label[i]];
    }
    return fb_binomial_tail(t->n, hits, (double)most / (double)t->n) < FB_WHY_SURE / 100;
}

static uint64_t read_map(const fb_why_state *s, const fb_trial *t, bool *right)
{
    halves h = {0};
    uint64_t hits = 0;
    bool room = make_halves(s, t, &h);
    for (uint8_t half = 0; room && half < 2; half++) {
        learn(s, t, &h, half);
        for (uint64_t i = 0; i < t->n; i++) {
            if (t->label[i] < 0 || h.half[i] == half)
                continue;
            bool hit = h.to[t->label[i]] == t->top[i] && h.back[t->top[i]] == (uint32_t)t->label[i];
            hits += hit;
            if (right)
                right[i] = hit;
        }
    }
    if (room && !is_map(t, &h, hits)) {
        hits = 0;
        if (right)
            memset(right, 0, (size_t)t->n * sizeof *right);
    }
    free_halves(&h);
    return hits;
}

uint64_t fb_why_read(const fb_why_state *s, const fb_trial *t, fb_reading reading, bool *right)
{
    static const int64_t shift[FB_READINGS] = {[FB_READ_UP] = 1, [FB_READ_DOWN] = -1};
    uint64_t hits = 0;
    if (right)
        memset(right, 0, (size_t)t->n * sizeof *right);
    if (!s->labelled)
        return 0;
    if (reading == FB_READ_MAP)
        return read_map(s, t, right);
    for (uint64_t i = 0; i < t->n; i++) {
        bool hit = t->label[i] >= 0 && (int64_t)t->top[i] == t->label[i] + shift[reading];
        hits += hit;
        if (right)
            right[i] = hit;
    }
    return hits;
}

uint64_t fb_why_read_best(const fb_why_state *s, const fb_trial *t, bool *right,
                          fb_reading *reading)
{
    fb_reading best = FB_READ_PLAIN;
    uint64_t most = fb_why_read(s, t, best, NULL);
    for (fb_reading r = FB_READ_UP; r < FB_READINGS; r++) {
        uint64_t hits = fb_why_read(s, t, r, NULL);
        if (hits > most) {
            most = hits;
            best = r;
        }
    }
    if (right)
        fb_why_read(s, t, best, right);
    if (reading)
        *reading = best;
    return most;
}

fb_status fb_why_show_map(const fb_why_state *s, const fb_trial *t, char text[256], uint32_t *moved)
{
    halves h = {0};
    size_t at = 0;
    bool room = make_halves(s, t, &h);
    *moved = 0;
    text[0] = '\0';
    for (uint64_t i = 0; room && i < t->n; i++)
        h.half[i] = 0;
    if (room)
        learn(s, t, &h, 0);
    for (uint32_t l = 0; room && l < h.n_labels; l++) {
        if (h.to[l] == UINT32_MAX || h.back[h.to[l]] != l || h.to[l] == l)
            continue;
        if (++*moved <= 6 && at < 200)
            at += (size_t)snprintf(text + at, 256 - at, "%s%u is %u", at ? ", " : "", l, h.to[l]);
    }
    free_halves(&h);
    if (*moved > 6)
        (void)snprintf(text + at, 256 - at, ", ...");
    return room ? FB_OK : fb_fail(FB_E_MEMORY, "no memory to read the labels");
}
