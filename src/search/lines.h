/* A text file of what is done: a header line that says what it belongs to, then lines that are
 * appended and flushed one by one. A line cut short by a crash is passed over. */
#ifndef FB_SEARCH_LINES_H
#define FB_SEARCH_LINES_H

#include "fewbit/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct fb_lines {
    FILE *file; /* NULL: nothing is kept */
    const char *path;
} fb_lines;

/* What a kind of file is: its header is magic, key and a line's end. */
typedef struct fb_lines_kind {
    const char *magic; /* "fewbit search 1 " */
    const char *name;  /* "the journal of a search" */
    const char *owner; /* whose key it is, in a sentence: "a search with another model ..." */
    fb_status (*take)(void *user, const char *line, size_t n); /* n characters and a NUL */
} fb_lines_kind;

/* Tells kind->take of the lines of the file at `path`, if there is one, and whether there was any
 * text. `key` NULL: of any. FB_E_ARG for a file of another key or kind. */
fb_status fb_lines_read(const char *path, const fb_lines_kind *kind, const char *key, void *user,
                        bool *found);
/* The same; then opens it for more, with a header where it was new. path NULL: nothing is kept. */
fb_status fb_lines_open(const char *path, const fb_lines_kind *kind, const char *key, void *user,
                        fb_lines *lines);
/* Appends what makes up one line, without its end; nothing where nothing is kept. */
fb_status fb_lines_add(const fb_lines *lines, const char *head, const char *rest);
void fb_lines_close(fb_lines *lines);

#endif
