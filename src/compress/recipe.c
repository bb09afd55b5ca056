/* The method text: steps joined by '+' or by line ends, each NAME[:key=value,...]; a value without
 * a key is that of the method's first option; '#' starts a comment that ends with its line. */
#include "compress/method.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 64, MAX_TEXT = 16384 };

typedef struct span {
    const char *at;
    size_t n;
} span;

static span trim(span s)
{
    const char *blanks = " \t\r\n";
    while (s.n > 0 && strchr(blanks, s.at[0])) {
        s.at++;
        s.n--;
    }
    while (s.n > 0 && strchr(blanks, s.at[s.n - 1]))
        s.n--;
    return s;
}

/* Cuts `rest` at the first of `marks`: the part before is returned, `rest` is what follows. */
static span cut(span *rest, const char *marks)
{
    size_t n = 0;
    while (n < rest->n && !strchr(marks, rest->at[n]))
        n++;
    span part = {rest->at, n};
    size_t gone = n < rest->n ? n + 1 : n;
    rest->at += gone;
    rest->n -= gone;
    return trim(part);
}

static bool same(span s, const char *text)
{
    return strlen(text) == s.n && memcmp(s.at, text, s.n) == 0;
}

/* --- names ----------------------------------------------------------------------------------- */

static fb_status unknown_method(span name)
{
    char list[512] = "";
    for (uint32_t i = 0; i < fb_method_count(); i++) {
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                       fb_method_get(i)->name);
    }
    return fb_fail(FB_E_ARG, "'%.*s' is not a method; the methods are %s", (int)name.n, name.at,
                   list);
}

static fb_status find_method(span name, fb_recipe_step *step)
{
    for (uint32_t i = 0; i < fb_method_count(); i++) {
        const fb_method_def *m = fb_method_get(i);
        size_t stem = m->stem ? strlen(m->stem) : 0;
        if (!m->stem && same(name, m->name)) {
            step->method = m;
            return FB_OK;
        }
        if (!m->stem || name.n <= stem || name.n > stem + 2 || memcmp(name.at, m->stem, stem) != 0)
            continue;
        unsigned bits = 0;
        bool digits = true;
        for (size_t k = stem; k < name.n; k++) {
            digits = digits && name.at[k] >= '0' && name.at[k] <= '9';
            bits = bits * 10 + (unsigned)(name.at[k] - '0');
        }
        if (!digits)
            continue;
        if (bits < m->least_bits || bits > m->most_bits)
            return fb_fail(FB_E_ARG, "step '%.*s': %s takes %u to %u bits", (int)name.n, name.at,
                           m->stem, m->least_bits, m->most_bits);
        step->method = m;
        step->bits = bits;
        return FB_OK;
    }
    return unknown_method(name);
}

/* --- options --------------------------------------------------------------------------------- */

static fb_status unknown_option(const fb_recipe_step *step, span key)
{
    char list[512] = "none";
    for (uint32_t i = 0; i < step->method->n_options; i++) {
        size_t used = i ? strlen(list) : 0;
        (void)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                       step->method->options[i].key);
    }
    return fb_fail(FB_E_ARG, "step '%s': option '%.*s' is unknown; the options are %s", step->text,
                   (int)key.n, key.at, list);
}

static bool find_choice(const char *choices, const char *text, int32_t *index)
{
    span rest = {choices, strlen(choices)};
    for (int32_t i = 0; rest.n > 0; i++) {
        if (same(cut(&rest, "|"), text)) {
            *index = i;
            return true;
        }
    }
    return false;
}

static fb_status set_value(const fb_recipe_step *step, const fb_option_def *def, const char *text,
                           fb_option *value)
{
    value->text = text;
    if (def->kind == FB_OPTION_CHOICE && !find_choice(def->choices, text, &value->choice))
        return fb_fail(FB_E_ARG, "step '%s': %s=%s is not one of %s", step->text, def->key, text,
                       def->choices);
    if (def->kind == FB_OPTION_NUMBER || def->kind == FB_OPTION_WHOLE) {
        char *end;
        value->number = strtod(text, &end);
        bool whole = def->kind == FB_OPTION_WHOLE;
        bool fine = end != text && *end == '\0' && value->number >= def->least &&
                    value->number <= def->most && (!whole || floor(value->number) == value->number);
        if (!fine)
            return fb_fail(FB_E_ARG, "step '%s': %s=%s is not %s from %g to %g", step->text,
                           def->key, text, whole ? "a whole number" : "a number", def->least,
                           def->most);
    }
    return FB_OK;
}

static fb_status parse_option(fb_recipe *r, fb_recipe_step *step, span option)
{
    const fb_method_def *m = step->method;
    span rest = option, key = cut(&rest, "=");
    if (!memchr(option.at, '=', option.n) && m->n_options > 0) {
        rest = option;
        key = (span){m->options[0].key, strlen(m->options[0].key)};
    }
    for (uint32_t i = 0; i < m->n_options; i++) {
        if (!same(key, m->options[i].key))
            continue;
        span value = trim(rest);
        if (step->option[i].given)
            return fb_fail(FB_E_ARG, "step '%s': option '%s' is given twice", step->text,
                           m->options[i].key);
        if (value.n == 0)
            return fb_fail(FB_E_ARG, "step '%s': option '%s' has no value; write %s=%s", step->text,
                           m->options[i].key, m->options[i].key,
                           m->options[i].choices ? m->options[i].choices : "VALUE");
        const char *text = fb_arena_string_n(r->arena, value.at, value.n);
        if (!text)
            return fb_fail(FB_E_MEMORY, "no memory for the method text");
        step->option[i].given = true;
        return set_value(step, &m->options[i], text, &step->option[i]);
    }
    return unknown_option(step, key);
}

static fb_status parse_step(fb_recipe *r, span text, fb_recipe_step *step)
{
    *step = (fb_recipe_step){0};
    step->text = fb_arena_string_n(r->arena, text.at, text.n);
    if (!step->text)
        return fb_fail(FB_E_MEMORY, "no memory for the method text");
    span rest = text, name = cut(&rest, ":");
    FB_TRY(find_method(name, step));
    for (uint32_t i = 0; i < step->method->n_options; i++) {
        const char *preset = step->method->options[i].preset;
        step->option[i].text = "";
        if (preset)
            FB_TRY(set_value(step, &step->method->options[i], preset, &step->option[i]));
    }
    while (rest.n > 0)
        FB_TRY(parse_option(r, step, cut(&rest, ",")));
    const fb_method_def *m = step->method;
    r->needs_data = r->needs_data || (m->wants_data ? m->wants_data(step) : m->needs_data);
    return FB_OK;
}

/* --- the chain ------------------------------------------------------------------------------- */

/* Blanks out comments. */
static char *copy_text(fb_recipe *r, const char *text)
{
    char *copy = fb_arena_string(r->arena, text);
    bool comment = false;
    for (char *p = copy; p && *p; p++) {
        comment = *p == '#' || (comment && *p != '\n');
        if (comment)
            *p = ' ';
    }
    return copy;
}

static fb_status join_steps(const fb_recipe *r, uint32_t n_steps, const char **joined)
{
    size_t n = 1;
    for (uint32_t i = 0; i < n_steps; i++)
        n += strlen(r->steps[i].text) + 3;
    char *text = fb_arena_alloc(r->arena, n);
    if (!text)
        return fb_fail(FB_E_MEMORY, "no memory for the method text");
    for (uint32_t i = 0; i < n_steps; i++) {
        strcat(text, i ? " + " : "");
        strcat(text, r->steps[i].text);
    }
    *joined = text;
    return FB_OK;
}

static fb_status find_training(fb_recipe *r)
{
    const fb_recipe_step *last = &r->steps[r->n_steps - 1];
    for (const fb_recipe_step *step = r->steps; step < last; step++) {
        if (step->method->trains)
            return fb_fail(FB_E_ARG, "step '%s' trains the network, so it must be the last one",
                           step->text);
    }
    r->training = last->method->trains ? last : NULL;
    return join_steps(r, r->training ? r->n_steps - 1 : r->n_steps, &r->before);
}

static fb_status parse_line(fb_recipe *r, span line)
{
    while (line.n > 0) {
        size_t before = line.n;
        span step = cut(&line, "+");
        bool open = line.n == 0 && before > 0 && line.at[-1] == '+';
        if (step.n == 0 || open)
            return fb_fail(FB_E_ARG, "a step is missing beside a '+'; write NAME[:key=value,...] "
                                     "on both sides");
        if (r->n_steps == MAX_STEPS)
            return fb_fail(FB_E_LIMIT, "the method has more than %d steps", (int)MAX_STEPS);
        FB_TRY(parse_step(r, step, &r->steps[r->n_steps]));
        r->n_steps++;
    }
    return FB_OK;
}

fb_status fb_recipe_parse(const char *text, fb_recipe *r)
{
    *r = (fb_recipe){.arena = fb_arena_create()};
    fb_status status = FB_OK;
    char *copy = NULL;
    if (r->arena) {
        copy = strlen(text) <= MAX_TEXT ? copy_text(r, text) : NULL;
        r->steps = fb_arena_array(r->arena, MAX_STEPS, sizeof *r->steps);
    }
    if (strlen(text) > MAX_TEXT) {
        status = fb_fail(FB_E_LIMIT, "the method text has more than %d bytes", (int)MAX_TEXT);
        goto fail;
    }
    if (!copy || !r->steps) {
        status = fb_fail(FB_E_MEMORY, "no memory for the method text");
        goto fail;
    }
    for (span rest = {copy, strlen(copy)}; rest.n > 0;)
        FB_GO(parse_line(r, cut(&rest, "\n")));
    if (r->n_steps == 0) {
        status = fb_fail(FB_E_ARG, "the method text is empty; write NAME[:key=value,...], steps "
                                   "joined by '+'");
        goto fail;
    }
    FB_GO(join_steps(r, r->n_steps, &r->text));
    FB_GO(find_training(r));
    return FB_OK;
fail:
    fb_recipe_free(r);
    return status;
}

void fb_recipe_free(fb_recipe *r)
{
    fb_arena_destroy(r->arena);
    *r = (fb_recipe){0};
}
