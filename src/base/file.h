/* Files: whole reads, read-only mappings, and writes that never destroy what was there. */
#ifndef FB_BASE_FILE_H
#define FB_BASE_FILE_H

#include "fewbit/fewbit.h"

#include <stdio.h>

/* Read-only mapping of a regular file; *data is NULL for an empty one. */
fb_status fb_file_map(const char *path, void **data, size_t *bytes);
void fb_file_unmap(void *data, size_t bytes);
/* Whole file into fb_alloc memory; FB_E_LIMIT beyond max_bytes. */
fb_status fb_file_read(const char *path, size_t max_bytes, void **data, size_t *bytes);

/* Atomic replacement: open a temporary beside `path`, write to file->stream, then commit (flush,
 * fsync, close, rename) or abort (delete). After any failure the old file is untouched and the
 * temporary gone. */
typedef struct fb_file {
    FILE *stream;
    char *path, *temp;
} fb_file;
fb_status fb_file_create(const char *path, fb_file *file);
fb_status fb_file_commit(fb_file *file);
void fb_file_abort(fb_file *file);
/* True when both names are the same existing file. */
bool fb_file_same(const char *a, const char *b);

#endif
