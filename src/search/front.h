/* The front of a search: trials that no other beats in bytes and loss at once, and their networks
 * in the search's folder, <number of the trial>.fewbit, the journal's first being 1. */
#ifndef FB_SEARCH_FRONT_H
#define FB_SEARCH_FRONT_H

#include "search/journal.h"

enum { FB_FRONT_PATH = 4096 }; /* characters, with the end */

/* Sets `front` of the n trials. */
void fb_front_mark(fb_search_trial *trials, uint32_t n);

/* Where the network of trial i of the journal lies. False: the name is too long. */
bool fb_front_path(const char *folder, uint32_t i, char path[FB_FRONT_PATH]);

/* Marks the journal's front; writes `model`, the network of its last trial, if it is on it, and
 * removes those that no longer are. */
fb_status fb_front_keep(const char *folder, fb_journal *journal, const fb_model *model);

/* Marks the front of a result whose texts are a journal's, and copies the texts for
 * fb_search_free. */
fb_status fb_front_own(fb_search_result *result);

#endif
