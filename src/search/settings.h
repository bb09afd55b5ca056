/* What a search chooses from: for each layer with weights a width, what that costs and what harm it
 * does alone; and the method text that a choice stands for. */
#ifndef FB_SEARCH_SETTINGS_H
#define FB_SEARCH_SETTINGS_H

#include "compress/allocate.h"
#include "fewbit/search.h"
#include "model/model.h"

#include <stddef.h>

enum { FB_SETTING_WIDTHS = 6 };

/* Bits of weights, most first: choice k of a layer has fb_setting_bits[k]. */
extern const uint32_t fb_setting_bits[FB_SETTING_WIDTHS];

typedef struct fb_setting_layer {
    uint32_t node;
    int32_t weight;                       /* its constant */
    fb_choice choices[FB_SETTING_WIDTHS]; /* harm: nats; cost: bytes of the codes, entropy-coded,
                                             with their scales, estimated */
} fb_setting_layer;

typedef struct fb_settings {
    const fb_model *model; /* float weights; the caller's */
    fb_setting_layer *layers;
    fb_item *items; /* [n_layers] the layers' choices */
    uint32_t n_layers;
} fb_settings;

/* Layers that own their weights (those that several layers share are taken once), costs of all
 * widths, harms 0. FB_E_UNSUPPORTED when there is none. After a failure *s is empty. */
fb_status fb_settings_init(const fb_model *model, fb_settings *s);
void fb_settings_free(fb_settings *s);

/* Takes harms over from rows about weights. What is narrower never does less harm: where chance
 * says so, the wider choice gets the narrower one's. */
void fb_settings_take(fb_settings *s, const fb_sensitivity *rows);

/* The method text, in memory of the caller's to fb_free: weights of pick[l] for layer l, behind
 * them the steps of `tail`. A layer whose name has characters that a method text gives a meaning to
 * is named by a pattern. NULL without memory. */
char *fb_settings_text(const fb_settings *s, const uint32_t *pick, const char *tail);

#endif
