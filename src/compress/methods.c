/* The table of methods, as code and as users see it. */
#include "compress/method.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

#define FB_METHOD(def) extern const fb_method_def def;
#include "compress/methods.inc"
#undef FB_METHOD

static const fb_method_def *const methods[] = {
#define FB_METHOD(def) &def,
#include "compress/methods.inc"
#undef FB_METHOD
};

uint32_t fb_method_count(void)
{
    return (uint32_t)(sizeof methods / sizeof methods[0]);
}

const fb_method_def *fb_method_get(uint32_t i)
{
    return methods[i];
}

const fb_option *fb_step_option(const fb_recipe_step *step, const char *key)
{
    for (uint32_t i = 0; i < step->method->n_options; i++) {
        if (strcmp(step->method->options[i].key, key) == 0)
            return &step->option[i];
    }
    return NULL;
}

uint32_t fb_n_methods(void)
{
    return fb_method_count();
}

static void describe_options(const fb_method_def *m, char *text, size_t cap)
{
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < m->n_options && n < cap; i++) {
        const fb_option_def *o = &m->options[i];
        int wrote = snprintf(text + n, cap - n, "%s%s=%s  %s%s%s%s", i ? "\n" : "", o->key,
                             o->preset ? o->preset : "", o->choices ? "(" : "",
                             o->choices ? o->choices : "", o->choices ? ") " : "", o->meaning);
        n += wrote > 0 ? (size_t)wrote : 0;
    }
}

fb_status fb_method_at(uint32_t i, fb_method_info *info)
{
    static _Thread_local char options[2048];
    if (i >= fb_method_count())
        return fb_fail(FB_E_ARG, "method %u of %u does not exist", i, fb_method_count());
    const fb_method_def *m = methods[i];
    describe_options(m, options, sizeof options);
    *info = (fb_method_info){.name = m->name,
                             .summary = m->summary,
                             .options = options,
                             .needs_data = m->needs_data,
                             .trains = m->trains};
    return FB_OK;
}
