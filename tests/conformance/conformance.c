/* Runs the ONNX project's own cases (libonnx-testdata) through importer, plan and kernels.
 *
 *   conformance [-v] [substring of a case]
 *
 * Every case whose operators are all in import/ops.inc is imported three times (as the file stands;
 * inputs channels last; without fusing), run on its inputs and compared with its outputs: rtol
 * 1e-3, atol 1e-5, integers exactly. Ends with "N passed, N failed, N skipped" and, before it, the
 * skipped cases by reason. Exit status 1 when a case failed, 77 without the cases. */
#include "cases.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally {
    unsigned passed, failed, skipped;
    bool verbose;
    struct {
        char reason[96];
        unsigned n;
        char cases[6000];
    } skips[128];
    size_t n_skips;
} tally;

static void skip(tally *t, const char *name, const char *reason)
{
    size_t i = 0;
    t->skipped++;
    while (i < t->n_skips && strcmp(t->skips[i].reason, reason) != 0)
        i++;
    if (i == sizeof t->skips / sizeof t->skips[0])
        return;
    if (i == t->n_skips) {
        t->n_skips++;
        snprintf(t->skips[i].reason, sizeof t->skips[i].reason, "%s", reason);
    }
    size_t at = strlen(t->skips[i].cases);
    snprintf(t->skips[i].cases + at, sizeof t->skips[i].cases - at, " %s",
             strncmp(name, "test_", 5) == 0 ? name + 5 : name);
    t->skips[i].n++;
}

static void run_case(tally *t, const char *folder, const char *name)
{
    char reason[512] = "";
    verdict v = case_run(folder, reason, sizeof reason);
    if (v == CASE_SKIP) {
        skip(t, name, reason);
    } else if (v == CASE_PASS) {
        t->passed++;
        if (t->verbose)
            printf("pass %s\n", name);
    } else {
        t->failed++;
        printf("FAIL %s: %s\n", name, reason);
    }
    fflush(stdout);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool run_folder(tally *t, const char *root, const char *sub, const char *only)
{
    char path[1024];
    struct dirent **list;
    snprintf(path, sizeof path, "%s/%s", root, sub);
    int n = scandir(path, &list, NULL, by_name);
    if (n < 0)
        return false;
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' && (!only || strstr(list[i]->d_name, only))) {
            snprintf(path, sizeof path, "%s/%s/%s", root, sub, list[i]->d_name);
            run_case(t, path, list[i]->d_name);
        }
        free(list[i]);
    }
    free(list);
    return true;
}

int main(int argc, char **argv)
{
    static const char *const folders[] = {"node", "pytorch-converted", "pytorch-operator",
                                          "simple"};
    static tally t;
    const char *root = getenv("FEWBIT_ONNX_TESTDATA"), *only = NULL;
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            t.verbose = true;
        else
            only = argv[i];
    }
    if (!root)
        root = "/usr/share/libonnx-testdata/data";
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        any = run_folder(&t, root, folders[i], only) || any;
    if (!any) {
        printf("%s is not there (Debian package libonnx-testdata)\n", root);
        return 77;
    }
    for (size_t i = 0; i < t.n_skips; i++)
        printf("skipped %3u  %s:%s\n", t.skips[i].n, t.skips[i].reason, t.skips[i].cases);
    printf("%u passed, %u failed, %u skipped\n", t.passed, t.failed, t.skipped);
    return t.failed != 0;
}
