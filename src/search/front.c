/* What is kept of a search, and what is read of one that was kept. */
#include "search/front.h"

#include "base/alloc.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

void fb_front_mark(fb_search_trial *trials, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const fb_search_trial *b = &trials[i];
        bool beaten = false;
        for (uint32_t k = 0; k < n && !beaten; k++) {
            const fb_search_trial *a = &trials[k];
            beaten = a->bytes <= b->bytes && a->loss <= b->loss &&
                     (a->bytes < b->bytes || a->loss < b->loss);
        }
        trials[i].front = !beaten;
    }
}

bool fb_front_path(const char *folder, uint32_t i, char path[FB_FRONT_PATH])
{
    return snprintf(path, FB_FRONT_PATH, "%s/%u.fewbit", folder, i + 1) < FB_FRONT_PATH;
}

fb_status fb_front_keep(const char *folder, fb_journal *j, const fb_model *model)
{
    char path[FB_FRONT_PATH];
    fb_front_mark(j->trials, j->n);
    for (uint32_t i = 0; i < j->n; i++) {
        if (!fb_front_path(folder, i, path))
            return fb_fail(FB_E_ARG, "the name of the folder '%.200s...' is too long", folder);
        if (j->trials[i].front && i + 1 == j->n)
            FB_TRY(fb_model_save(model, path));
        else if (!j->trials[i].front)
            (void)remove(path);
    }
    return FB_OK;
}

fb_status fb_front_own(fb_search_result *r)
{
    fb_front_mark(r->trials, r->n_trials);
    for (uint32_t i = 0; i < r->n_trials; i++) {
        size_t n = strlen(r->trials[i].method) + 1;
        char *copy = fb_alloc(n);
        if (!copy) {
            r->n_trials = i;
            return fb_fail(FB_E_MEMORY, "no memory for the trials");
        }
        memcpy(copy, r->trials[i].method, n);
        r->trials[i].method = copy;
    }
    return FB_OK;
}

/* --- a search that was kept ------------------------------------------------------------------ */

static fb_status read_folder(const char *folder, fb_journal *journal)
{
    static _Thread_local char path[FB_FRONT_PATH];
    if (!folder || snprintf(path, sizeof path, "%s/trials.txt", folder) >= FB_FRONT_PATH)
        return fb_fail(FB_E_ARG, "a search is read from a folder with a name of at most %d bytes",
                       FB_FRONT_PATH - 16);
    FB_TRY(fb_journal_read(path, journal));
    fb_front_mark(journal->trials, journal->n);
    return FB_OK;
}

fb_status fb_search_read(const char *folder, fb_search_result *result)
{
    fb_journal journal;
    *result = (fb_search_result){.finished = true};
    FB_TRY(read_folder(folder, &journal));
    result->trials = fb_calloc(journal.n + 1, sizeof *result->trials);
    fb_status status = result->trials ? FB_OK : fb_fail(FB_E_MEMORY, "no memory for the trials");
    if (status == FB_OK) {
        memcpy(result->trials, journal.trials, journal.n * sizeof *result->trials);
        result->n_trials = result->n_found = journal.n;
        result->best_trial = journal.n;
        status = fb_front_own(result);
    }
    fb_journal_close(&journal);
    if (status != FB_OK)
        fb_search_free(result);
    return status;
}

fb_status fb_search_pick(const char *folder, uint32_t i, fb_model **out)
{
    char path[FB_FRONT_PATH];
    fb_journal journal;
    *out = NULL;
    FB_TRY(read_folder(folder, &journal));
    bool fits = i < journal.n && journal.trials[i].front && fb_front_path(folder, i, path);
    fb_status status = fits ? fb_model_open(path, out)
                            : fb_fail(FB_E_ARG, "trial %u is not on the front of '%s'", i, folder);
    if (status == FB_OK) {
        const char *made = fb_model_note(*out, "method");
        if (!made || strcmp(made, journal.trials[i].method) != 0)
            status = fb_fail(FB_E_FORMAT, "'%s' is not the network of its trial", path);
    }
    fb_journal_close(&journal);
    if (status != FB_OK)
        fb_model_close(out);
    return status;
}

void fb_search_free(fb_search_result *result)
{
    for (uint32_t i = 0; i < result->n_trials; i++)
        fb_free((void *)(uintptr_t)result->trials[i].method);
    fb_free(result->trials);
    fb_model_close(&result->best);
    *result = (fb_search_result){0};
}
