/* Opening a data set by what it looks like, and handing out its samples. */
#define _POSIX_C_SOURCE 200809L
#include "fewbit/data.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/fingerprint.h"
#include "data/listing.h"
#include "data/prefetch.h"
#include "data/set.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct fb_data {
    fb_data_set set;
    fb_data_prepare prepare;
    uint64_t spread; /* samples that the limit leaves: set.n, or less */
    uint32_t part, parts;
    uint64_t count; /* of the samples that are given: those of one part */
    uint32_t n_threads;
    char fingerprint[FB_DATA_FINGERPRINT_CHARS];
    fb_data_prefetch *prefetch; /* made at the first fb_data_next */
};

/* Sample k of those given, among all: spread evenly. Both factors are below 2^32. */
static uint64_t index_of(const fb_data *data, uint64_t k)
{
    return (k * data->parts + data->part) * data->set.n / data->spread;
}

static int32_t label_of(const fb_data *data, uint64_t k)
{
    return data->set.labels ? ((const int32_t *)data->set.labels)[index_of(data, k)] : -1;
}

/* ---- opening ---- */

typedef enum kind { KIND_SINGLE, KIND_NPY, KIND_NPZ, KIND_IDX, KIND_CIFAR, KIND_LIST } kind;

static fb_status sniff(const char *path, kind *out)
{
    uint8_t head[512];
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    size_t n = bytes.size < sizeof head ? (size_t)bytes.size : sizeof head;
    fb_status status = fb_data_bytes_read(&bytes, 0, head, n, path);
    fb_data_bytes_close(&bytes);
    FB_TRY(status);
    if (n == 0)
        return fb_fail(FB_E_FORMAT, "'%s' is empty", path);
    if (fb_data_ends_with(path, ".bin")) /* has no magic of its own */
        *out = KIND_CIFAR;
    else if (fb_data_image_sniff(head, n) != FB_DATA_NO_IMAGE)
        *out = KIND_SINGLE;
    else if (n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0)
        *out = KIND_NPY;
    else if (n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0))
        *out = KIND_NPZ;
    else if (n >= 2 && ((head[0] == 0x1f && head[1] == 0x8b) || (head[0] == 0 && head[1] == 0)))
        *out = KIND_IDX;
    else if (!memchr(head, '\0', n))
        *out = KIND_LIST;
    else
        return fb_fail(
            FB_E_FORMAT,
            "'%s' is not a data set that fewbit reads (a folder of JPEG or PNG, a list of "
            "images, IDX, CIFAR binary, npy, npz, JPEG or PNG)",
            path);
    return FB_OK;
}

static fb_status read_file(const char *path, const char *labels, fb_data_set *set)
{
    kind k = KIND_LIST;
    FB_TRY(sniff(path, &k));
    if (labels && k != KIND_NPY && k != KIND_IDX)
        return fb_fail(
            FB_E_ARG,
            "labels in '%s' have no use: only npy and IDX images take a file of labels, and "
            "'%s' is neither",
            labels, path);
    switch (k) {
    case KIND_SINGLE:
        return fb_data_read_single(path, set);
    case KIND_NPY:
        return fb_data_read_npy(path, labels, set);
    case KIND_NPZ:
        return fb_data_read_npz(path, set);
    case KIND_IDX:
        return fb_data_read_idx(path, labels, set);
    case KIND_CIFAR:
        return fb_data_read_cifar(path, set);
    case KIND_LIST:
        break;
    }
    return fb_data_read_list(path, set);
}

static fb_status read_path(const char *path, const struct stat *st, fb_data_set *set)
{
    if (!S_ISDIR(st->st_mode))
        return read_file(path, NULL, set);
    bool found = false;
    FB_TRY(fb_data_read_cifar_folder(path, set, &found));
    return found ? FB_OK : fb_data_read_folder(path, set);
}

static fb_status read_pair(const char *spec, const char *comma, fb_data_set *set)
{
    fb_data_buffer copy = {NULL, 0};
    size_t n = (size_t)(comma - spec);
    char *path = fb_data_room(&copy, n + 1);
    if (!path)
        return FB_E_MEMORY;
    memcpy(path, spec, n);
    path[n] = '\0';
    fb_status status = read_file(path, comma + 1, set);
    fb_data_buffer_free(&copy);
    return status;
}

static fb_status read_spec(const char *spec, fb_data_set *set)
{
    struct stat st;
    if (stat(spec, &st) == 0)
        return read_path(spec, &st, set);
    int reason = errno;
    const char *comma = strrchr(spec, ',');
    if (comma && comma > spec && comma[1])
        return read_pair(spec, comma, set);
    return fb_fail(FB_E_IO, "cannot read '%s': %s", spec, strerror(reason));
}

/* Path of image k, in `path`. A list may name files by absolute paths. */
static const char *path_of(const fb_data_set *set, uint64_t i, fb_data_buffer *path)
{
    const char *name = fb_data_set_name(set, i);
    return name[0] == '/' ? name : fb_data_join(path, fb_data_set_text(set, set->root), name);
}

/* Looks at each file that will be read, so that a wrong path shows now and not an hour later. */
static fb_status print_files(const fb_data *data, fb_data_print *print)
{
    fb_data_buffer buffer = {NULL, 0};
    fb_status status = FB_OK;
    for (uint64_t k = 0; k < data->count; k++) {
        uint64_t i = index_of(data, k);
        const char *path = path_of(&data->set, i, &buffer);
        struct stat st;
        if (!path)
            FB_GO(FB_E_MEMORY);
        if (stat(path, &st) != 0)
            FB_GO(fb_fail(FB_E_IO, "cannot read '%s': %s", path, strerror(errno)));
        fb_data_print_text(print, fb_data_set_name(&data->set, i));
        fb_data_print_number(print, (uint64_t)st.st_size);
        fb_data_print_number(print, (uint64_t)label_of(data, k));
    }
fail:
    fb_data_buffer_free(&buffer);
    return status;
}

static void print_array(const fb_data *data, fb_data_print *print)
{
    const fb_data_array *array = &data->set.array;
    const fb_data_piece *pieces = array->pieces;
    fb_data_print_number(print, array->elem);
    for (uint32_t i = 0; i < array->rank; i++)
        fb_data_print_number(print, array->dims[i]);
    for (size_t i = 0; i < array->n_pieces; i++) {
        fb_data_print_text(print, fb_data_base_name(pieces[i].name));
        fb_data_print_number(print, pieces[i].n);
    }
    for (uint64_t k = 0; k < data->count; k++) {
        fb_data_print_number(print, index_of(data, k));
        fb_data_print_number(print, (uint64_t)label_of(data, k));
    }
}

static fb_status choose_samples(fb_data *data, const char *spec, const fb_data_options *options)
{
    data->spread = data->set.n;
    if (options->limit > 0 && options->limit < data->spread)
        data->spread = options->limit;
    data->parts = options->parts > 1 ? options->parts : 1;
    data->part = options->parts > 1 ? options->part : 0;
    if (data->part >= data->parts || data->part >= data->spread)
        return fb_fail(FB_E_ARG, "'%s' has %llu samples, which leaves none for part %u of %u", spec,
                       (unsigned long long)data->spread, data->part + 1, data->parts);
    data->count = (data->spread - data->part + data->parts - 1) / data->parts;
    return FB_OK;
}

static fb_status open_into(fb_data *data, const char *spec, const fb_data_options *options)
{
    FB_TRY(fb_data_prepare_init(&data->prepare, &options->prep, &options->shape));
    FB_TRY(read_spec(spec, &data->set));
    data->n_threads = options->n_threads;
    FB_TRY(choose_samples(data, spec, options));
    fb_data_print print;
    fb_data_print_start(&print);
    if (data->set.names) {
        FB_TRY(fb_data_prepare_check(&data->prepare, 0, 0, 3, true));
        FB_TRY(print_files(data, &print));
    } else {
        FB_TRY(fb_data_array_fit(&data->set.array, &data->prepare));
        print_array(data, &print);
    }
    fb_data_print_end(&print, data->fingerprint);
    return FB_OK;
}

fb_status fb_data_open(const char *spec, const fb_data_options *options, fb_data **out)
{
    if (!out)
        return fb_fail(FB_E_ARG, "fb_data_open needs a place for the data set");
    *out = NULL;
    if (!spec || !spec[0] || !options)
        return fb_fail(FB_E_ARG, "fb_data_open needs a path and options");
    fb_data *data = fb_calloc(1, sizeof *data);
    if (!data)
        return fb_fail(FB_E_MEMORY, "out of memory for the data set '%s'", spec);
    fb_data_set_init(&data->set);
    fb_status status = open_into(data, spec, options);
    if (status != FB_OK) {
        fb_data_close(&data);
        return status;
    }
    *out = data;
    return FB_OK;
}

void fb_data_close(fb_data **data)
{
    if (!data || !*data)
        return;
    fb_data_prefetch_destroy((*data)->prefetch);
    fb_data_set_free(&(*data)->set);
    fb_free(*data);
    *data = NULL;
}

/* ---- looking ---- */

void fb_data_shape(const fb_data *data, fb_sample_shape *shape)
{
    *shape = data->prepare.shape;
}

fb_status fb_data_fits(const fb_data *data, const fb_sample_shape *shape)
{
    const fb_sample_shape *own = &data->prepare.shape;
    if (own->height == shape->height && own->width == shape->width &&
        own->channels == shape->channels)
        return FB_OK;
    return fb_fail(
        FB_E_ARG, "the data was opened for samples of %ux%ux%u, the model takes %ux%ux%u",
        own->height, own->width, own->channels, shape->height, shape->width, shape->channels);
}

uint64_t fb_data_count(const fb_data *data)
{
    return data->count;
}

bool fb_data_labelled(const fb_data *data)
{
    return data->set.labels != NULL;
}

uint32_t fb_data_n_classes(const fb_data *data)
{
    return data->set.n_classes;
}

const char *fb_data_class(const fb_data *data, uint32_t i)
{
    if (i >= data->set.n_class_names)
        return NULL;
    return fb_data_set_text(&data->set, ((const size_t *)data->set.classes)[i]);
}

const char *fb_data_name(const fb_data *data, uint64_t i)
{
    return i < data->count ? fb_data_set_name(&data->set, index_of(data, i)) : NULL;
}

const char *fb_data_fingerprint(const fb_data *data)
{
    return data->fingerprint;
}

/* ---- reading ---- */

static fb_status make_from_file(const fb_data *data, uint64_t i, fb_data_scratch *scratch, float *x)
{
    const char *path = path_of(&data->set, i, &scratch->path);
    if (!path)
        return FB_E_MEMORY;
    size_t n = 0;
    FB_TRY(fb_data_file_read(path, FB_DATA_MAX_IMAGE_FILE, &scratch->file, &n));
    fb_data_image image;
    fb_status status = fb_data_image_decode(scratch->file.p, n, &scratch->pixels, &image);
    if (status == FB_OK)
        status = fb_data_prepare_image(&data->prepare, &image, true, scratch, x);
    return status == FB_OK ? FB_OK : fb_fail_in(status, "'%s'", path);
}

static fb_status make_sample(void *user, uint64_t k, fb_data_scratch *scratch, float *x)
{
    const fb_data *data = user;
    uint64_t i = index_of(data, k);
    if (data->set.names)
        return make_from_file(data, i, scratch, x);
    return fb_data_array_read(&data->set.array, &data->prepare, i, scratch, x);
}

fb_status fb_data_next(fb_data *data, uint32_t max, float *x, int32_t *labels, uint32_t *got)
{
    if (!data || max == 0 || !x || !got)
        return fb_fail(FB_E_ARG, "fb_data_next needs a data set, room for a sample and a count");
    *got = 0;
    if (!data->prefetch)
        FB_TRY(fb_data_prefetch_create(data->count, data->prepare.n_elems, data->n_threads,
                                       make_sample, data, &data->prefetch));
    uint64_t at = fb_data_prefetch_at(data->prefetch);
    for (; *got < max && at < data->count; at++) {
        bool failed = false;
        /* Samples before a failure are given first; the failure is the next call's. */
        FB_TRY(fb_data_prefetch_next(data->prefetch, *got > 0, &failed,
                                     x + *got * data->prepare.n_elems));
        if (failed)
            break;
        if (labels)
            labels[*got] = label_of(data, at);
        (*got)++;
    }
    return FB_OK;
}

void fb_data_rewind(fb_data *data)
{
    if (data && data->prefetch)
        fb_data_prefetch_rewind(data->prefetch);
}
