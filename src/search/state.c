/* Finished trials on disk. */
#include "search/state.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char magic[] = "fewbit sensitivity 1 ";

static void take_row(const char *line, fb_sense_row *rows, bool *found, uint32_t n)
{
    fb_sense_row r;
    uint32_t what;
    if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %la %la", &r.layer, &what, &r.bits,
               &r.loss, &r.correct) != 5)
        return;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].layer == r.layer && (uint32_t)rows[i].what == what && rows[i].bits == r.bits) {
            rows[i].loss = r.loss;
            rows[i].correct = r.correct;
            found[i] = true;
        }
    }
}

/* `text` ends in a NUL; lines without an end are cut short. */
static fb_status take_text(const char *path, char *text, const char *key, fb_sense_row *rows,
                           bool *found, uint32_t n)
{
    char *end = strchr(text, '\n');
    size_t head = strlen(magic);
    if (!end || strncmp(text, magic, head) != 0)
        return fb_fail(FB_E_ARG, "'%s' is not a file of sensitivities; name another", path);
    if (strncmp(text + head, key, 16) != 0 || end != text + head + 16)
        return fb_fail(FB_E_ARG,
                       "'%s' belongs to another model, other data or another number of images "
                       "(%.16s, not %.16s); remove it or name another",
                       path, text + head, key);
    for (char *line = end + 1; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        take_row(line, rows, found, n);
    }
    return FB_OK;
}

static fb_status read_state(const char *path, const char *key, fb_sense_row *rows, bool *found,
                            uint32_t n, bool *is_new)
{
    void *data = NULL;
    size_t bytes;
    FILE *probe = fopen(path, "rb");
    *is_new = probe == NULL;
    if (!probe)
        return errno == ENOENT ? FB_OK
                               : fb_fail(FB_E_IO, "cannot read '%s': %s", path, strerror(errno));
    (void)fclose(probe);
    FB_TRY(fb_file_read(path, (size_t)16 << 20, &data, &bytes));
    char *text = fb_alloc(bytes + 1);
    fb_status status = text ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for '%s'", path);
    *is_new = bytes == 0;
    if (text && bytes > 0) {
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        status = take_text(path, text, key, rows, found, n);
    }
    fb_free(text);
    fb_free(data);
    return status;
}

static fb_status put(const fb_state *state, const char *text)
{
    if (fwrite(text, 1, strlen(text), state->file) == strlen(text) && fflush(state->file) == 0)
        return FB_OK;
    return fb_fail(FB_E_IO, "cannot write '%s': %s", state->path, strerror(errno));
}

fb_status fb_state_open(const char *path, const char *key, fb_sense_row *rows, bool *found,
                        uint32_t n, fb_state *state)
{
    bool is_new;
    *state = (fb_state){NULL, path};
    if (!path)
        return FB_OK;
    FB_TRY(read_state(path, key, rows, found, n, &is_new));
    state->file = fopen(path, "ab");
    if (!state->file)
        return fb_fail(FB_E_IO, "cannot write '%s': %s", path, strerror(errno));
    char head[64] = "\n"; /* whatever was cut short ends here */
    if (is_new)
        (void)snprintf(head, sizeof head, "%s%s\n", magic, key);
    fb_status status = put(state, head);
    if (status != FB_OK)
        fb_state_close(state);
    return status;
}

fb_status fb_state_add(const fb_state *state, const fb_sense_row *r)
{
    char line[160];
    if (!state->file)
        return FB_OK;
    (void)snprintf(line, sizeof line, "%" PRIu32 " %d %" PRIu32 " %a %a\n", r->layer, (int)r->what,
                   r->bits, r->loss, r->correct);
    return put(state, line);
}

void fb_state_close(fb_state *state)
{
    if (state->file)
        (void)fclose(state->file);
    state->file = NULL;
}
