/* What a reader finds: image files by name or the samples of arrays, and their labels. */
#ifndef FB_DATA_SET_H
#define FB_DATA_SET_H

#include "data/array.h"
#include "data/bytes.h"

/* Labels above this are taken for damage: callers allocate by the number of classes. */
#define FB_DATA_MAX_LABEL   999999u
#define FB_DATA_MAX_SAMPLES ((uint64_t)INT32_MAX)

typedef struct fb_data_set {
    uint64_t n;
    /* Strings, each with its NUL, one after the other: a million names cost their letters only. */
    void *text;
    size_t text_n, text_cap;
    void *names; /* size_t[n], offsets in text; NULL when samples lie in arrays */
    size_t names_cap;
    size_t root;  /* offset in text; names are relative to this folder ("" for none, else ends in
                     '/') */
    void *labels; /* int32_t[n]; NULL when there are none */
    size_t labels_cap;
    void *classes; /* size_t[n_class_names] */
    size_t classes_cap;
    uint32_t n_class_names;
    uint32_t n_classes;
    fb_data_array array; /* n_pieces 0 for image files */
} fb_data_set;

void fb_data_set_init(fb_data_set *set);
void fb_data_set_free(fb_data_set *set);

static inline const char *fb_data_set_text(const fb_data_set *set, size_t at)
{
    return (const char *)set->text + at;
}

static inline const char *fb_data_set_name(const fb_data_set *set, uint64_t i)
{
    return set->names ? fb_data_set_text(set, ((const size_t *)set->names)[i]) : NULL;
}

/* Copies a string of n bytes, followed by NUL. */
fb_status fb_data_set_put(fb_data_set *set, const char *text, size_t n, size_t *at);
/* Sets root to the folder that `path` lies in. */
fb_status fb_data_set_root_of(fb_data_set *set, const char *path);

/* Adds a file; every one or none has a label (label -1: this one has not). */
fb_status fb_data_set_add(fb_data_set *set, size_t name_at, int32_t label);
/* Adds a label alone, for arrays; the number of labels is counted by *n_labels. */
fb_status fb_data_set_add_label(fb_data_set *set, uint64_t *n_labels, int32_t label);
fb_status fb_data_set_add_class(fb_data_set *set, const char *name);

/* The last component of a path. */
const char *fb_data_base_name(const char *path);

/* The readers. Each fills a set that fb_data_set_init made; after a failure the caller frees it. */
fb_status fb_data_read_folder(const char *path, fb_data_set *set);
fb_status fb_data_read_list(const char *path, fb_data_set *set);
fb_status fb_data_read_single(const char *path, fb_data_set *set);
fb_status fb_data_read_idx(const char *path, const char *labels_path, fb_data_set *set);
fb_status fb_data_read_npy(const char *path, const char *labels_path, fb_data_set *set);
fb_status fb_data_read_npz(const char *path, fb_data_set *set);
fb_status fb_data_read_cifar(const char *path, fb_data_set *set);

/* Names of the CIFAR batches in a folder, in the order they are read; FB_OK with *found false when
 * it is no such folder. */
fb_status fb_data_read_cifar_folder(const char *path, fb_data_set *set, bool *found);

/* Labels from an IDX or npy file; there must be set->n of them. */
fb_status fb_data_read_labels(const char *path, fb_data_set *set);

/* The parts of readers that see only bytes, for fuzzing. `bytes` is taken over, also on failure. */
fb_status fb_data_parse_list(const char *text, size_t n, const char *name, fb_data_set *set);
fb_status fb_data_parse_idx(fb_data_bytes *bytes, const char *name, fb_data_set *set);
fb_status fb_data_parse_npy(fb_data_bytes *bytes, const char *name, fb_data_set *set);
fb_status fb_data_parse_npz_member(fb_data_bytes *bytes, const char *name, const char *member,
                                   bool optional, bool *found, fb_data_bytes *out);
fb_status fb_data_parse_labels(fb_data_bytes *bytes, const char *name, fb_data_set *set);

#endif
