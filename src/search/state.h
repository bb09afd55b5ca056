/* Finished trials on disk: a text file, a header line that says what they belong to, then a line a
 * row, appended and flushed as each is finished. A line cut short by a crash is passed over. */
#ifndef FB_SEARCH_STATE_H
#define FB_SEARCH_STATE_H

#include "fewbit/search.h"

#include <stdio.h>

typedef struct fb_state {
    FILE *file; /* NULL: nothing is kept */
    const char *path;
} fb_state;

/* Reads rows of the file at `path` (NULL or absent: none) into those of rows [n] that have the same
 * layer, what and bits, sets found[n], and opens it for more. */
fb_status fb_state_open(const char *path, const char *key, fb_sense_row *rows, bool *found,
                        uint32_t n, fb_state *state);
fb_status fb_state_add(const fb_state *state, const fb_sense_row *row);
void fb_state_close(fb_state *state);

#endif
