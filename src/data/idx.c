/* IDX, the format of MNIST: 0 0 type rank, then big-endian dims, then the elements. */
#define _POSIX_C_SOURCE 200809L
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/listing.h"

#include <string.h>
#include <unistd.h>

enum { IDX_U8 = 8, MAX_IDX_RANK = 4 };

typedef struct header {
    uint32_t rank;
    uint64_t dims[MAX_IDX_RANK];
    uint64_t bytes;
} header;

static fb_status read_header(const fb_data_bytes *bytes, const char *name, header *h)
{
    uint8_t raw[4 + 4 * MAX_IDX_RANK];
    FB_TRY(fb_data_bytes_read(bytes, 0, raw, 4, name));
    if (raw[0] != 0 || raw[1] != 0)
        return fb_fail(FB_E_FORMAT, "'%s' is not an IDX file: it does not start with two zeros",
                       name);
    if (raw[2] != IDX_U8)
        return fb_fail(FB_E_UNSUPPORTED,
                       "'%s' has IDX elements of type 0x%02x, and only 0x08 (u8) is read", name,
                       raw[2]);
    if (raw[3] == 0 || raw[3] > MAX_IDX_RANK)
        return fb_fail(FB_E_UNSUPPORTED, "'%s' has %u IDX dimensions, and 1 to %d are read", name,
                       raw[3], MAX_IDX_RANK);
    h->rank = raw[3];
    h->bytes = 4 + 4 * (uint64_t)h->rank;
    FB_TRY(fb_data_bytes_read(bytes, 4, raw + 4, (size_t)h->bytes - 4, name));
    for (uint32_t i = 0; i < h->rank; i++)
        h->dims[i] = fb_data_u32be(raw + 4 + 4 * (size_t)i);
    return FB_OK;
}

fb_status fb_data_parse_idx(fb_data_bytes *bytes, const char *name, fb_data_set *set)
{
    header h;
    fb_status status = FB_OK;
    FB_GO(fb_data_gunzip_if_packed(bytes, name));
    FB_GO(read_header(bytes, name, &h));
    if (h.rank < 3)
        FB_GO(fb_fail(FB_E_FORMAT, "'%s' has %u IDX dimension%s, and images have 3 or 4", name,
                      h.rank, h.rank == 1 ? "" : "s"));
    FB_GO(fb_data_array_shape(&set->array, FB_DATA_U8, FB_DATA_HWC, h.rank - 1, h.dims + 1, name));
    FB_GO(fb_data_array_add(&set->array, bytes, h.bytes, set->array.n_elems, h.dims[0], name));
    set->n = h.dims[0];
    return FB_OK;
fail:
    fb_data_bytes_close(bytes);
    return status;
}

/* ---- labels ---- */

static fb_status check_count(uint64_t n, const char *name, const fb_data_set *set)
{
    if (n == set->n)
        return FB_OK;
    return fb_fail(FB_E_FORMAT, "'%s' has %llu labels for %llu samples", name,
                   (unsigned long long)n, (unsigned long long)set->n);
}

static fb_status read_idx_labels(const fb_data_bytes *bytes, const char *name, fb_data_set *set)
{
    header h;
    FB_TRY(read_header(bytes, name, &h));
    if (h.rank != 1)
        return fb_fail(FB_E_FORMAT, "'%s' has %u IDX dimensions, and labels have 1", name, h.rank);
    FB_TRY(check_count(h.dims[0], name, set));
    uint8_t chunk[4096];
    uint64_t n_labels = 0;
    for (uint64_t at = 0; at < h.dims[0];) {
        size_t n = h.dims[0] - at < sizeof chunk ? (size_t)(h.dims[0] - at) : sizeof chunk;
        FB_TRY(fb_data_bytes_read(bytes, h.bytes + at, chunk, n, name));
        for (size_t i = 0; i < n; i++)
            FB_TRY(fb_data_set_add_label(set, &n_labels, chunk[i]));
        at += n;
    }
    return FB_OK;
}

static fb_status copy_npy_labels(const fb_data_set *y, const char *name, fb_data_set *set)
{
    const fb_data_array *array = &y->array;
    const fb_data_piece *piece = array->pieces;
    FB_TRY(check_count(y->n, name, set));
    if (array->n_elems != 1)
        return fb_fail(FB_E_FORMAT, "'%s' has %zu numbers for each sample, and a label is one",
                       name, array->n_elems);
    if (array->elem >= FB_DATA_F16)
        return fb_fail(FB_E_FORMAT, "'%s' holds floating-point numbers, and labels are integers",
                       name);
    uint64_t n_labels = 0;
    for (uint64_t i = 0; i < y->n; i++) {
        uint8_t raw[8];
        int64_t label = -1;
        FB_TRY(fb_data_bytes_read(&piece->bytes, piece->first + i * piece->stride, raw,
                                  fb_data_elem_bytes(array->elem), name));
        if (!fb_data_elem_int(array->elem, raw, 0, &label) || label < 0 ||
            label > FB_DATA_MAX_LABEL)
            return fb_fail(FB_E_FORMAT, "label %llu of '%s' is %lld, and labels are 0 to %u",
                           (unsigned long long)i, name, (long long)label, FB_DATA_MAX_LABEL);
        FB_TRY(fb_data_set_add_label(set, &n_labels, (int32_t)label));
    }
    return FB_OK;
}

fb_status fb_data_parse_labels(fb_data_bytes *bytes, const char *name, fb_data_set *set)
{
    uint8_t magic[1] = {0};
    fb_status status = FB_OK;
    FB_GO(fb_data_gunzip_if_packed(bytes, name));
    FB_GO(fb_data_bytes_read(bytes, 0, magic, 1, name));
    if (magic[0] == 0x93) {
        fb_data_set y;
        fb_data_set_init(&y);
        status = fb_data_parse_npy(bytes, name, &y);
        if (status == FB_OK)
            status = copy_npy_labels(&y, name, set);
        fb_data_set_free(&y);
        return status;
    }
    status = read_idx_labels(bytes, name, set);
fail:
    fb_data_bytes_close(bytes);
    return status;
}

fb_status fb_data_read_labels(const char *path, fb_data_set *set)
{
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    return fb_data_parse_labels(&bytes, path, set);
}

/* ---- the labels file that belongs to an images file ---- */

static bool replace(char *base, const char *what, const char *by)
{
    char *at = strstr(base, what);
    if (!at)
        return false;
    memmove(at + strlen(by), at + strlen(what), strlen(at + strlen(what)) + 1);
    memcpy(at, by, strlen(by));
    return true;
}

/* "train-images-idx3-ubyte.gz" to "train-labels-idx1-ubyte.gz" in `buffer`, if that or its packed
 * or unpacked twin exists; else NULL. Replacements are no longer than what they replace. */
static char *labels_path(const char *path, fb_data_buffer *buffer)
{
    size_t n = strlen(path);
    char *name = fb_data_room(buffer, n + 4);
    if (!name)
        return NULL;
    memcpy(name, path, n + 1);
    char *base = name + (fb_data_base_name(path) - path);
    if (!replace(base, "images", "labels"))
        return NULL;
    if (!replace(base, "idx3", "idx1"))
        (void)replace(base, "idx4", "idx1");
    if (access(name, F_OK) == 0)
        return name;
    n = strlen(name);
    if (fb_data_ends_with(name, ".gz"))
        name[n - 3] = '\0';
    else
        memcpy(name + n, ".gz", 4);
    return access(name, F_OK) == 0 ? name : NULL;
}

fb_status fb_data_read_idx(const char *path, const char *labels, fb_data_set *set)
{
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    FB_TRY(fb_data_parse_idx(&bytes, path, set));
    fb_data_buffer buffer = {NULL, 0};
    fb_status status = FB_OK;
    if (!labels)
        labels = labels_path(path, &buffer);
    if (labels)
        status = fb_data_read_labels(labels, set);
    fb_data_buffer_free(&buffer);
    return status;
}
