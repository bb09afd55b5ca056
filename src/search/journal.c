/* Trials on disk. */
#include "search/journal.h"

#include "base/alloc.h"
#include "base/status.h"

#include <inttypes.h>
#include <string.h>

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
static fb_status take_line(void *user, const char *line, size_t n)
{
    fb_journal *j = user;
    fb_search_trial t = {0};
    int at = 0;
    if (sscanf(line, "%" SCNu64 " %la %la %la %n", &t.bytes, &t.loss, &t.correct, &t.agree, &at) <
        4)
        return FB_OK;
    if (at <= 0 || (size_t)at >= n || fb_journal_find(j, line + at))
        return FB_OK;
    return keep(j, &t, line + at, n - (size_t)at);
}

static const fb_lines_kind kind = {
    .magic = "fewbit search 1 ",
    .name = "the journal of a search",
    .owner = "a search with another model, other images or another seed, or by another version of "
             "fewbit",
    .take = take_line};

fb_status fb_journal_open(const char *path, const char *key, fb_journal *journal)
{
    *journal = (fb_journal){0};
    fb_status status = fb_lines_open(path, &kind, key, journal, &journal->lines);
    if (status != FB_OK)
        fb_journal_close(journal);
    return status;
}

fb_status fb_journal_read(const char *path, fb_journal *journal)
{
    bool found;
    *journal = (fb_journal){0};
    fb_status status = fb_lines_read(path, &kind, NULL, journal, &found);
    if (status == FB_OK && !found)
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
    (void)snprintf(numbers, sizeof numbers, "%" PRIu64 " %a %a %a ", t->bytes, t->loss, t->correct,
                   t->agree);
    return fb_lines_add(&j->lines, numbers, t->method);
}

void fb_journal_close(fb_journal *j)
{
    fb_lines_close(&j->lines);
    for (uint32_t i = 0; i < j->n; i++)
        fb_free((void *)(uintptr_t)j->trials[i].method);
    fb_free(j->trials);
    *j = (fb_journal){0};
}
