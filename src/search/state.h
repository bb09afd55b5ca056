/* Finished trials of single layers on disk, a line each. */
#ifndef FB_SEARCH_STATE_H
#define FB_SEARCH_STATE_H

#include "fewbit/search.h"
#include "search/lines.h"

/* Reads rows of the file at `path` (NULL or absent: none) into those of rows [n] that have the same
 * layer, what and bits, sets found[n], and opens it for more. */
fb_status fb_state_open(const char *path, const char *key, fb_sense_row *rows, bool *found,
                        uint32_t n, fb_lines *state);
fb_status fb_state_add(const fb_lines *state, const fb_sense_row *row);

#endif
