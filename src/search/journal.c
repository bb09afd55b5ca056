/* Trials on disk. */
#include "search/journal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char magic[] = "fewbit search 1 ";

static fb_status keep(fb_journal *j, const fb_search_trial *t, const char *method, size_t n)
{
    char *copy = fb_alloc(n + 1);
    if (!copy || !fb_grow((void **)&j->trials, &j->cap, (size_t)j->n + 1, sizeof *j->trials)) {
        fb_free(copy);
        return fb_fail(FB_E_MEMORY, "no memory for the trials");
    }
    memcpy(copy, method, n);
    copy[n] = '\0';
    j->trials[j->n] = *t;
    j->trials[j->n++].method = copy;
    return FB_OK;
}

/* Damaged lines are passed over: their trials are made again. */
static fb_status take_line(fb_journal *j, const char *line, size_t n)
{
    fb_search_trial t = {0};
    int at = 0;
    if (sscanf(line, "%" SCNu64 " %la %la %la %n", &t.bytes, &t.loss, &t.correct, &t.agree, &at) <
        4)
        return FB_OK;
    if (at <= 0 || (size_t)at >= n || fb_journal_find(j, line + at))
        return FB_OK;
    return keep(j, &t, line + at, n - (size_t)at);
}

/* `text` ends in a NUL, key may be NULL; a last line without an end is cut short. */
static fb_status take_text(fb_journal *j, char *text, const char *key)
{
    char *end = strchr(text, '\n');
    size_t head = strlen(magic);
    if (!end || strncmp(text, magic, head) != 0)
        return fb_fail(FB_E_ARG, "'%s' is not the journal of a search; name another folder",
                       j->path);
    *end = '\0';
    if (key && strcmp(text + head, key) != 0)
        return fb_fail(FB_E_ARG,
                       "'%s' belongs to a search with another model, other images or another "
                       "seed, or of another version of fewbit; remove its folder or name another",
                       j->path);
    for (char *line = end + 1; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        FB_TRY(take_line(j, line, (size_t)(end - line)));
    }
    return FB_OK;
}

static fb_status read_all(fb_journal *j, const char *key, bool *is_new)
{
    void *data = NULL;
    size_t bytes;
    FILE *probe = fopen(j->path, "rb");
    *is_new = probe == NULL;
    if (!probe)
        return errno == ENOENT ? FB_OK
                               : fb_fail(FB_E_IO, "cannot read '%s': %s", j->path, strerror(errno));
    (void)fclose(probe);
    FB_TRY(fb_file_read(j->path, (size_t)64 << 20, &data, &bytes));
    *is_new = bytes == 0;
    char *text = fb_alloc(bytes + 1);
    fb_status status = text ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for '%s'", j->path);
    if (text && bytes > 0) {
        memcpy(text, data, bytes);
        text[bytes] = '\0';
        status = take_text(j, text, key);
    }
    fb_free(text);
    fb_free(data);
    return status;
}

static fb_status put(const fb_journal *j, const char *text)
{
    if (fwrite(text, 1, strlen(text), j->file) == strlen(text) && fflush(j->file) == 0)
        return FB_OK;
    return fb_fail(FB_E_IO, "cannot write '%s': %s", j->path, strerror(errno));
}

static fb_status begin(fb_journal *j, const char *key, bool is_new)
{
    j->file = fopen(j->path, "ab");
    if (!j->file)
        return fb_fail(FB_E_IO, "cannot write '%s': %s", j->path, strerror(errno));
    if (!is_new)
        return put(j, "\n"); /* whatever was cut short ends here */
    FB_TRY(put(j, magic));
    FB_TRY(put(j, key));
    return put(j, "\n");
}

fb_status fb_journal_open(const char *path, const char *key, fb_journal *journal)
{
    bool is_new;
    *journal = (fb_journal){.path = path};
    if (!path)
        return FB_OK;
    fb_status status = read_all(journal, key, &is_new);
    if (status == FB_OK)
        status = begin(journal, key, is_new);
    if (status != FB_OK)
        fb_journal_close(journal);
    return status;
}

fb_status fb_journal_read(const char *path, fb_journal *journal)
{
    bool is_new;
    *journal = (fb_journal){.path = path};
    fb_status status = read_all(journal, NULL, &is_new);
    if (status == FB_OK && is_new)
        status = fb_fail(FB_E_ARG, "'%s' is not there, or empty: no search was kept there", path);
    if (status != FB_OK)
        fb_journal_close(journal);
    return status;
}

const fb_search_trial *fb_journal_find(const fb_journal *j, const char *method)
{
    for (uint32_t i = 0; i < j->n; i++) {
        if (strcmp(j->trials[i].method, method) == 0)
            return &j->trials[i];
    }
    return NULL;
}

fb_status fb_journal_add(fb_journal *j, const fb_search_trial *t)
{
    char numbers[160];
    FB_TRY(keep(j, t, t->method, strlen(t->method)));
    if (!j->file)
        return FB_OK;
    (void)snprintf(numbers, sizeof numbers, "%" PRIu64 " %a %a %a ", t->bytes, t->loss, t->correct,
                   t->agree);
    FB_TRY(put(j, numbers));
    FB_TRY(put(j, t->method));
    return put(j, "\n");
}

void fb_journal_close(fb_journal *j)
{
    if (j->file)
        (void)fclose(j->file);
    for (uint32_t i = 0; i < j->n; i++)
        fb_free((void *)(uintptr_t)j->trials[i].method);
    fb_free(j->trials);
    *j = (fb_journal){0};
}
