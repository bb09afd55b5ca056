/* Lines of text on disk, appended as they come. */
#include "search/lines.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"

#include <errno.h>
#include <string.h>

static const size_t most_bytes = (size_t)64 << 20;

/* `text` ends in a NUL. */
static fb_status take_text(const char *path, const fb_lines_kind *kind, const char *key, void *user,
                           char *text)
{
    char *end = strchr(text, '\n');
    size_t head = strlen(kind->magic);
    if (!end || strncmp(text, kind->magic, head) != 0)
        return fb_fail(FB_E_ARG, "'%s' is not %s; name another", path, kind->name);
    *end = '\0';
    if (key && strcmp(text + head, key) != 0)
        return fb_fail(FB_E_ARG, "'%s' belongs to %s (%.60s, not %.60s); remove it or name another",
                       path, kind->owner, text + head, key);
    for (char *line = end + 1; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        FB_TRY(kind->take(user, line, (size_t)(end - line)));
    }
    return FB_OK;
}

fb_status fb_lines_read(const char *path, const fb_lines_kind *kind, const char *key, void *user,
                        bool *found)
{
    void *data = NULL;
    size_t bytes;
    FILE *probe = fopen(path, "rb");
    *found = false;
    if (!probe)
        return errno == ENOENT ? FB_OK
                               : fb_fail(FB_E_IO, "cannot read '%s': %s", path, strerror(errno));
    (void)fclose(probe);
    FB_TRY(fb_file_read(path, most_bytes, &data, &bytes));
    *found = bytes > 0;
    char *text = fb_alloc(bytes + 1);
    fb_status status = text ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for '%s'", path);
    if (text && bytes > 0) {
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        status = take_text(path, kind, key, user, text);
    }
    fb_free(text);
    fb_free(data);
    return status;
}

static fb_status put(const fb_lines *lines, const char *text)
{
    if (fwrite(text, 1, strlen(text), lines->file) == strlen(text) && fflush(lines->file) == 0)
        return FB_OK;
    return fb_fail(FB_E_IO, "cannot write '%s': %s", lines->path, strerror(errno));
}

fb_status fb_lines_add(const fb_lines *lines, const char *head, const char *rest)
{
    if (!lines->file)
        return FB_OK;
    FB_TRY(put(lines, head));
    FB_TRY(put(lines, rest));
    return put(lines, "\n");
}

fb_status fb_lines_open(const char *path, const fb_lines_kind *kind, const char *key, void *user,
                        fb_lines *lines)
{
    bool found;
    *lines = (fb_lines){NULL, path};
    if (!path)
        return FB_OK;
    FB_TRY(fb_lines_read(path, kind, key, user, &found));
    lines->file = fopen(path, "ab");
    if (!lines->file)
        return fb_fail(FB_E_IO, "cannot write '%s': %s", path, strerror(errno));
    /* whatever was cut short ends with an empty line */
    fb_status status = found ? put(lines, "\n") : fb_lines_add(lines, kind->magic, key);
    if (status != FB_OK)
        fb_lines_close(lines);
    return status;
}

void fb_lines_close(fb_lines *lines)
{
    if (lines->file)
        (void)fclose(lines->file);
    lines->file = NULL;
}
