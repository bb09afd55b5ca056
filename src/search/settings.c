/* Widths of layers: costs, harms, and the text that says them. */
#include "search/settings.h"

#include "base/alloc.h"
#include "base/status.h"
#include "compress/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const uint32_t fb_setting_bits[FB_SETTING_WIDTHS] = {8, 6, 5, 4, 3, 2};

/* Scales of channels are coded, too: some 11 bits each. */
#define BYTES_A_SCALE 1.4

/* --- costs ----------------------------------------------------------------------------------- */

/* Bytes of n codes at their entropy. counts [256], by code + 128. */
static double coded_bytes(const uint64_t *counts, size_t n)
{
    double bits = 0;
    for (int q = 0; q < 256; q++) {
        if (counts[q] > 0)
            bits -= (double)counts[q] * log2((double)counts[q] / (double)n);
    }
    return bits / 8;
}

static fb_status cost_of(const fb_tensor *t, uint32_t bits, uint64_t *cost)
{
    const fb_weight_rule rule = {.bits = bits, .per_channel = true, .range = FB_WEIGHT_MSE};
    fb_weight_codes codes;
    uint64_t counts[256] = {0};
    FB_TRY(fb_weight_codes_init(&codes, t, &rule));
    for (size_t b = 0; b < codes.n_blocks; b++) {
        size_t n, first = fb_weight_block(&codes, b, &n);
        for (size_t i = first; i < first + n; i++)
            counts[fb_weight_code(&rule, codes.w[i], codes.scale[b], 0) + 128]++;
    }
    *cost = (uint64_t)ceil(coded_bytes(counts, codes.n) + BYTES_A_SCALE * (double)codes.n_blocks);
    fb_weight_codes_free(&codes);
    return FB_OK;
}

static bool is_taken(const fb_settings *s, int32_t weight)
{
    for (uint32_t l = 0; l < s->n_layers; l++) {
        if (s->layers[l].weight == weight)
            return true;
    }
    return false;
}

static fb_status take_layers(fb_settings *s)
{
    const fb_model *m = s->model;
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        int32_t weight = fb_node_weight(m, &m->nodes[i]);
        if (weight < 0 || m->tensors[weight].enc.kind != FB_ENC_PLAIN || is_taken(s, weight))
            continue;
        fb_setting_layer *l = &s->layers[s->n_layers];
        s->items[s->n_layers++] = (fb_item){l->choices, FB_SETTING_WIDTHS};
        l->node = i;
        l->weight = weight;
        for (uint32_t k = 0; k < FB_SETTING_WIDTHS; k++)
            FB_TRY(cost_of(&m->tensors[weight], fb_setting_bits[k], &l->choices[k].cost));
    }
    return s->n_layers > 0 ? FB_OK
                           : fb_fail(FB_E_UNSUPPORTED, "no conv or dense layer with constant float "
                                                       "weights is there to encode");
}

fb_status fb_settings_init(const fb_model *model, fb_settings *s)
{
    *s = (fb_settings){.model = model};
    s->layers = fb_calloc(model->n_nodes + 1, sizeof *s->layers);
    s->items = fb_calloc(model->n_nodes + 1, sizeof *s->items);
    fb_status status = s->layers && s->items
                           ? take_layers(s)
                           : fb_fail(FB_E_MEMORY, "no memory for the layers' choices");
    if (status != FB_OK)
        fb_settings_free(s);
    return status;
}

void fb_settings_free(fb_settings *s)
{
    fb_free(s->layers);
    fb_free(s->items);
    *s = (fb_settings){0};
}

/* --- harms ----------------------------------------------------------------------------------- */

static void take_row(fb_setting_layer *l, const fb_sense_row *row)
{
    for (uint32_t k = 0; k < FB_SETTING_WIDTHS; k++) {
        if (fb_setting_bits[k] == row->bits)
            l->choices[k].harm = row->loss;
    }
}

void fb_settings_take(fb_settings *s, const fb_sensitivity *r)
{
    for (uint32_t i = 0; i < r->n_rows; i++) {
        for (uint32_t l = 0; l < s->n_layers; l++) {
            if (r->rows[i].what == FB_SENSE_WEIGHTS && r->rows[i].layer == s->layers[l].node)
                take_row(&s->layers[l], &r->rows[i]);
        }
    }
    for (uint32_t l = 0; l < s->n_layers; l++) {
        fb_choice *c = s->layers[l].choices;
        for (uint32_t k = FB_SETTING_WIDTHS - 1; k > 0; k--)
            c[k - 1].harm = fmin(c[k - 1].harm, c[k].harm);
    }
}

/* --- text ------------------------------------------------------------------------------------ */

typedef struct text {
    char *chars; /* NULL: only counted */
    size_t n;
} text;

static void put(text *t, const char *s, size_t n)
{
    if (t->chars)
        memcpy(t->chars + t->n, s, n);
    t->n += n;
}

static void put_pattern(text *t, const char *name)
{
    for (; *name; name++)
        put(t, strchr(",+|:=*#\r\n", *name) ? "?" : name, 1);
}

/* Layers of choice k by name; where `all`, every one that is left. */
static void put_step(text *t, const fb_settings *s, const uint32_t *pick, uint32_t k, bool all)
{
    char head[32];
    bool first = true;
    (void)snprintf(head, sizeof head, "w%u%s", (unsigned)fb_setting_bits[k],
                   all ? "" : ":include=");
    put(t, head, strlen(head));
    for (uint32_t l = 0; !all && l < s->n_layers; l++) {
        if (pick[l] != k)
            continue;
        if (!first)
            put(t, "|", 1);
        first = false;
        put_pattern(t, s->model->nodes[s->layers[l].node].name);
    }
    put(t, " + ", 3);
}

/* The choice that most layers have, which needs no names. */
static uint32_t commonest(const fb_settings *s, const uint32_t *pick, uint32_t *counts)
{
    uint32_t best = 0;
    for (uint32_t l = 0; l < s->n_layers; l++)
        counts[pick[l]]++;
    for (uint32_t k = 1; k < FB_SETTING_WIDTHS; k++)
        best = counts[k] > counts[best] ? k : best;
    return best;
}

static void put_all(text *t, const fb_settings *s, const uint32_t *pick, const char *tail)
{
    uint32_t counts[FB_SETTING_WIDTHS] = {0}, rest = commonest(s, pick, counts);
    t->n = 0;
    for (uint32_t k = 0; k < FB_SETTING_WIDTHS; k++) {
        if (k != rest && counts[k] > 0)
            put_step(t, s, pick, k, false);
    }
    put_step(t, s, pick, rest, true);
    put(t, tail, strlen(tail));
}

char *fb_settings_text(const fb_settings *s, const uint32_t *pick, const char *tail)
{
    text t = {0};
    put_all(&t, s, pick, tail);
    t.chars = fb_alloc(t.n + 1);
    if (t.chars) {
        put_all(&t, s, pick, tail);
        t.chars[t.n] = '\0';
    }
    return t.chars;
}
