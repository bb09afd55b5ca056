/* Names in a folder, and small work on paths. */
#ifndef FB_DATA_LISTING_H
#define FB_DATA_LISTING_H

#include "data/bytes.h"

typedef enum fb_data_listed { FB_DATA_LIST_FILES, FB_DATA_LIST_FOLDERS } fb_data_listed;

typedef struct fb_data_listing {
    void *text; /* strings one after the other */
    size_t text_n, text_cap;
    void *at; /* size_t[n] */
    size_t n, at_cap;
} fb_data_listing;

/* Names of regular files or of folders in `path` (links followed) in byte order, without hidden
 * ones; FB_E_IO with path and reason. `listing` is zeroed by the caller, freed by it in any case.
 */
fb_status fb_data_listing_read(const char *path, fb_data_listed what, fb_data_listing *listing);
void fb_data_listing_free(fb_data_listing *listing);

static inline const char *fb_data_listing_name(const fb_data_listing *listing, size_t i)
{
    return (const char *)listing->text + ((const size_t *)listing->at)[i];
}

/* folder + '/' + name, in `path`; NULL (with the sentence) when memory is short. */
char *fb_data_join(fb_data_buffer *path, const char *folder, const char *name);

/* ASCII letters compare without case. */
bool fb_data_ends_with(const char *name, const char *ending);

#endif
