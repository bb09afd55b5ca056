/* A folder of class folders, or a folder of images. */
#define _POSIX_C_SOURCE 200809L
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/listing.h"

#include <string.h>

static bool is_image_name(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (fb_data_ends_with(name, endings[i]))
            return true;
    }
    return false;
}

/* Adds the images of the folder at `path` as `prefix` + file name. */
static fb_status add_images(const fb_data_listing *files, const char *prefix, int32_t label,
                            fb_data_set *set)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *name = fb_data_listing_name(files, i);
        if (!is_image_name(name))
            continue;
        size_t at, rest;
        FB_TRY(fb_data_set_put(set, prefix, strlen(prefix), &at));
        set->text_n--; /* over the NUL, so that both become one string */
        FB_TRY(fb_data_set_put(set, name, strlen(name), &rest));
        FB_TRY(fb_data_set_add(set, at, label));
    }
    return FB_OK;
}

/* The images of one class folder; its name becomes "class/". */
static fb_status add_class(const char *root, const char *class_name, uint32_t label,
                           fb_data_set *set)
{
    fb_data_buffer path = {NULL, 0}, prefix = {NULL, 0};
    fb_data_listing files = {0};
    fb_status status = FB_OK;
    size_t n = strlen(class_name);
    if (!fb_data_join(&path, root, class_name) || !fb_data_room(&prefix, n + 2))
        FB_GO(FB_E_MEMORY);
    memcpy(prefix.p, class_name, n);
    memcpy((char *)prefix.p + n, "/", 2);
    FB_GO(fb_data_listing_read(path.p, FB_DATA_LIST_FILES, &files));
    FB_GO(fb_data_set_add_class(set, class_name));
    FB_GO(add_images(&files, prefix.p, (int32_t)label, set));
fail:
    fb_data_listing_free(&files);
    fb_data_buffer_free(&path);
    fb_data_buffer_free(&prefix);
    return status;
}

static fb_status read_classes(const char *root, fb_data_set *set)
{
    fb_data_listing folders = {0};
    fb_status status = fb_data_listing_read(root, FB_DATA_LIST_FOLDERS, &folders);
    for (size_t i = 0; status == FB_OK && i < folders.n; i++)
        status = add_class(root, fb_data_listing_name(&folders, i), (uint32_t)i, set);
    fb_data_listing_free(&folders);
    return status;
}

static fb_status set_root(const char *path, fb_data_set *set)
{
    size_t n = strlen(path), slash;
    FB_TRY(fb_data_set_put(set, path, n, &set->root));
    if (n > 0 && path[n - 1] == '/')
        return FB_OK;
    set->text_n--;
    return fb_data_set_put(set, "/", 1, &slash);
}

fb_status fb_data_read_folder(const char *path, fb_data_set *set)
{
    FB_TRY(set_root(path, set));
    FB_TRY(read_classes(path, set));
    if (set->n > 0)
        return FB_OK;
    /* No class folder has an image, so folders (if any) are no classes: the images lie here. */
    fb_data_set_free(set);
    FB_TRY(set_root(path, set));
    fb_data_listing files = {0};
    fb_status status = fb_data_listing_read(path, FB_DATA_LIST_FILES, &files);
    if (status == FB_OK)
        status = add_images(&files, "", -1, set);
    fb_data_listing_free(&files);
    FB_TRY(status);
    if (set->n == 0)
        return fb_fail(
            FB_E_FORMAT,
            "no images in '%s' (looked for .jpg, .jpeg and .png in it and in its folders)", path);
    return FB_OK;
}

fb_status fb_data_read_single(const char *path, fb_data_set *set)
{
    const char *base = fb_data_base_name(path);
    size_t at;
    FB_TRY(fb_data_set_root_of(set, path));
    FB_TRY(fb_data_set_put(set, base, strlen(base), &at));
    return fb_data_set_add(set, at, -1);
}
