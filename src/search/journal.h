/* What was tried, on disk, a line each: a method text and what came of it. The same text is never
 * tried twice. */
#ifndef FB_SEARCH_JOURNAL_H
#define FB_SEARCH_JOURNAL_H

#include "fewbit/search.h"
#include "search/lines.h"

typedef struct fb_journal {
    fb_lines lines;
    fb_search_trial *trials; /* [n], each with a text of its own */
    uint32_t n;
    size_t cap;
} fb_journal;

/* Reads the trials of the file at `path` (NULL or absent: none) and opens it for more. `key` is one
 * line without its end. FB_E_ARG for a file of another key or of another kind; *journal is empty
 * then. */
fb_status fb_journal_open(const char *path, const char *key, fb_journal *journal);
/* Reads one of whatever key; nothing can be added. The file must be there. */
fb_status fb_journal_read(const char *path, fb_journal *journal);
/* The trial of this method, or NULL. Valid until the next fb_journal_add. */
const fb_search_trial *fb_journal_find(const fb_journal *journal, const char *method);
/* Copies the trial. */
fb_status fb_journal_add(fb_journal *journal, const fb_search_trial *trial);
void fb_journal_close(fb_journal *journal);

#endif
