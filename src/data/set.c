#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"

#include <string.h>

void fb_data_set_init(fb_data_set *set)
{
    memset(set, 0, sizeof *set);
}

void fb_data_set_free(fb_data_set *set)
{
    fb_free(set->text);
    fb_free(set->names);
    fb_free(set->labels);
    fb_free(set->classes);
    fb_data_array_free(&set->array);
    fb_data_set_init(set);
}

static fb_status no_memory(void)
{
    return fb_fail(FB_E_MEMORY, "out of memory for the names and labels of a data set");
}

fb_status fb_data_set_put(fb_data_set *set, const char *text, size_t n, size_t *at)
{
    if (!fb_grow(&set->text, &set->text_cap, set->text_n + n + 1, 1))
        return no_memory();
    char *to = (char *)set->text + set->text_n;
    memcpy(to, text, n);
    to[n] = '\0';
    *at = set->text_n;
    set->text_n += n + 1;
    return FB_OK;
}

const char *fb_data_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

fb_status fb_data_set_root_of(fb_data_set *set, const char *path)
{
    return fb_data_set_put(set, path, (size_t)(fb_data_base_name(path) - path), &set->root);
}

static fb_status check_room(uint64_t n)
{
    if (n >= FB_DATA_MAX_SAMPLES)
        return fb_fail(FB_E_LIMIT, "the data set has more than %llu samples, the limit",
                       (unsigned long long)FB_DATA_MAX_SAMPLES);
    return FB_OK;
}

fb_status fb_data_set_add_label(fb_data_set *set, uint64_t *n_labels, int32_t label)
{
    FB_TRY(check_room(*n_labels));
    if (label > (int32_t)FB_DATA_MAX_LABEL)
        return fb_fail(FB_E_LIMIT, "label %d is above %u, the limit", label, FB_DATA_MAX_LABEL);
    if (!fb_grow(&set->labels, &set->labels_cap, (size_t)*n_labels + 1, sizeof(int32_t)))
        return no_memory();
    ((int32_t *)set->labels)[(*n_labels)++] = label;
    if (label >= 0 && (uint32_t)label >= set->n_classes)
        set->n_classes = (uint32_t)label + 1;
    return FB_OK;
}

fb_status fb_data_set_add(fb_data_set *set, size_t name_at, int32_t label)
{
    FB_TRY(check_room(set->n));
    if (!fb_grow(&set->names, &set->names_cap, (size_t)set->n + 1, sizeof(size_t)))
        return no_memory();
    ((size_t *)set->names)[set->n] = name_at;
    uint64_t n_labels = set->n;
    if (label >= 0)
        FB_TRY(fb_data_set_add_label(set, &n_labels, label));
    set->n++;
    return FB_OK;
}

fb_status fb_data_set_add_class(fb_data_set *set, const char *name)
{
    size_t at;
    FB_TRY(fb_data_set_put(set, name, strlen(name), &at));
    if (set->n_class_names > FB_DATA_MAX_LABEL)
        return fb_fail(FB_E_LIMIT, "the data set has more than %u classes, the limit",
                       FB_DATA_MAX_LABEL + 1);
    if (!fb_grow(&set->classes, &set->classes_cap, (size_t)set->n_class_names + 1, sizeof(size_t)))
        return no_memory();
    ((size_t *)set->classes)[set->n_class_names++] = at;
    if (set->n_classes < set->n_class_names)
        set->n_classes = set->n_class_names;
    return FB_OK;
}
