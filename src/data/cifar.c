/* CIFAR binary: rows of one label (CIFAR-10) or two (CIFAR-100: coarse, fine) and 3 planes of
 * 32x32. */
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/listing.h"

#include <string.h>

enum { SIDE = 32, IMAGE = 3 * SIDE * SIDE, ROW_10 = IMAGE + 1, ROW_100 = IMAGE + 2 };

/* The name decides where the size allows both, which is at no number of rows that anybody ships. */
static fb_status row_bytes(const char *path, uint64_t size, uint64_t *row)
{
    bool ten = size > 0 && size % ROW_10 == 0, hundred = size > 0 && size % ROW_100 == 0;
    const char *base = fb_data_base_name(path);
    if (ten && hundred)
        ten = strcmp(base, "train.bin") != 0 && strcmp(base, "test.bin") != 0;
    if (!ten && !hundred)
        return fb_fail(
            FB_E_FORMAT,
            "'%s' is not CIFAR binary: its %llu bytes are not rows of %d (CIFAR-10) or %d "
            "(CIFAR-100)",
            path, (unsigned long long)size, ROW_10, ROW_100);
    *row = ten ? ROW_10 : ROW_100;
    return FB_OK;
}

static fb_status read_row_labels(const fb_data_bytes *bytes, uint64_t row, uint64_t n,
                                 const char *path, fb_data_set *set)
{
    uint8_t classes = row == ROW_10 ? 10 : 100;
    uint64_t n_labels = set->n;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t label;
        FB_TRY(fb_data_bytes_read(bytes, (i + 1) * row - IMAGE - 1, &label, 1, path));
        if (label >= classes)
            return fb_fail(FB_E_FORMAT, "row %llu of '%s' has label %u, and CIFAR-%u has 0 to %d",
                           (unsigned long long)i, path, label, classes, classes - 1);
        FB_TRY(fb_data_set_add_label(set, &n_labels, label));
    }
    return FB_OK;
}

fb_status fb_data_read_cifar(const char *path, fb_data_set *set)
{
    static const uint64_t dims[3] = {3, SIDE, SIDE};
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    uint64_t row = ROW_10, n = 0;
    fb_status status = FB_OK;
    FB_GO(row_bytes(path, bytes.size, &row));
    n = bytes.size / row;
    FB_GO(read_row_labels(&bytes, row, n, path, set));
    FB_GO(fb_data_array_shape(&set->array, FB_DATA_U8, FB_DATA_CHW, 3, dims, path));
    FB_GO(fb_data_array_add(&set->array, &bytes, row - IMAGE, row, n, path));
    set->n += n;
    return FB_OK;
fail:
    fb_data_bytes_close(&bytes);
    return status;
}

static bool is_batch(const char *name)
{
    return strncmp(name, "data_batch_", 11) == 0 && fb_data_ends_with(name, ".bin");
}

static fb_status read_one(const char *folder, const char *name, fb_data_set *set)
{
    fb_data_buffer path = {NULL, 0};
    fb_status status =
        fb_data_join(&path, folder, name) ? fb_data_read_cifar(path.p, set) : FB_E_MEMORY;
    fb_data_buffer_free(&path);
    return status;
}

static bool has_name(const fb_data_listing *files, const char *name)
{
    for (size_t i = 0; i < files->n; i++) {
        if (strcmp(fb_data_listing_name(files, i), name) == 0)
            return true;
    }
    return false;
}

/* Training files before test files: one set is never a mixture of both. */
fb_status fb_data_read_cifar_folder(const char *path, fb_data_set *set, bool *found)
{
    static const char *const single[] = {"train.bin", "test_batch.bin", "test.bin"};
    fb_data_listing files = {0};
    *found = false;
    fb_status status = fb_data_listing_read(path, FB_DATA_LIST_FILES, &files);
    for (size_t i = 0; status == FB_OK && i < files.n; i++) {
        if (!is_batch(fb_data_listing_name(&files, i)))
            continue;
        *found = true;
        status = read_one(path, fb_data_listing_name(&files, i), set);
    }
    for (size_t i = 0; status == FB_OK && !*found && i < 3; i++) {
        *found = has_name(&files, single[i]);
        if (*found)
            status = read_one(path, single[i], set);
    }
    fb_data_listing_free(&files);
    return status;
}
