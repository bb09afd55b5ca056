#define _POSIX_C_SOURCE 200809L
#include "data/listing.h"

#include "base/alloc.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static fb_status add_name(fb_data_listing *listing, const char *name)
{
    size_t n = strlen(name) + 1;
    if (!fb_grow(&listing->text, &listing->text_cap, listing->text_n + n, 1) ||
        !fb_grow(&listing->at, &listing->at_cap, listing->n + 1, sizeof(size_t)))
        return fb_fail(FB_E_MEMORY, "out of memory for the names in a folder");
    memcpy((char *)listing->text + listing->text_n, name, n);
    ((size_t *)listing->at)[listing->n++] = listing->text_n;
    listing->text_n += n;
    return FB_OK;
}

static fb_status read_entries(DIR *dir, const char *path, fb_data_listed what,
                              fb_data_listing *listing)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno != 0)
            return fb_fail(FB_E_IO, "cannot read the folder '%s': %s", path, strerror(errno));
        if (!entry)
            return FB_OK;
        struct stat st;
        /* A link that leads nowhere is neither a file nor a folder. */
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
            continue;
        if (what == FB_DATA_LIST_FILES ? S_ISREG(st.st_mode) : S_ISDIR(st.st_mode))
            FB_TRY(add_name(listing, entry->d_name));
    }
}

/* Heap sort: in place, n log n for any order, and (unlike qsort) with a context. */
static void sift(const char *text, size_t *at, size_t root, size_t n)
{
    size_t child;
    while ((child = 2 * root + 1) < n) {
        if (child + 1 < n && strcmp(text + at[child], text + at[child + 1]) < 0)
            child++;
        if (strcmp(text + at[root], text + at[child]) >= 0)
            return;
        size_t t = at[root];
        at[root] = at[child];
        at[child] = t;
        root = child;
    }
}

static void sort_names(const char *text, size_t *at, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(text, at, i, n);
    for (size_t last = n; last-- > 1;) {
        size_t t = at[0];
        at[0] = at[last];
        at[last] = t;
        sift(text, at, 0, last);
    }
}

fb_status fb_data_listing_read(const char *path, fb_data_listed what, fb_data_listing *listing)
{
    DIR *dir = opendir(path);
    if (!dir)
        return fb_fail(FB_E_IO, "cannot read the folder '%s': %s", path, strerror(errno));
    fb_status status = read_entries(dir, path, what, listing);
    (void)closedir(dir);
    if (status == FB_OK && listing->n > 1)
        sort_names(listing->text, listing->at, listing->n);
    return status;
}

void fb_data_listing_free(fb_data_listing *listing)
{
    fb_free(listing->text);
    fb_free(listing->at);
    memset(listing, 0, sizeof *listing);
}

char *fb_data_join(fb_data_buffer *path, const char *folder, const char *name)
{
    size_t a = strlen(folder), b = strlen(name);
    char *to = fb_data_room(path, a + b + 2);
    if (!to)
        return NULL;
    memcpy(to, folder, a);
    if (a > 0 && folder[a - 1] != '/')
        to[a++] = '/';
    memcpy(to + a, name, b + 1);
    return to;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool fb_data_ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    if (n < m)
        return false;
    for (size_t i = 0; i < m; i++) {
        if (lower(name[n - m + i]) != lower(ending[i]))
            return false;
    }
    return true;
}
