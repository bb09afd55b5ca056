/* fewbit search: what a search that was kept has found, and its networks. */
#include "cli.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>

/* Numbers of the trials on the front, the smallest file first, in memory to free. */
static uint32_t *list_front(const fb_search_result *r, uint32_t *n)
{
    uint32_t *at = malloc((r->n_trials + 1) * sizeof *at);
    *n = 0;
    for (uint32_t i = 0; at && i < r->n_trials; i++) {
        if (!r->trials[i].front)
            continue;
        uint32_t k = (*n)++;
        for (; k > 0 && r->trials[at[k - 1]].bytes > r->trials[i].bytes; k--)
            at[k] = at[k - 1];
        at[k] = i;
    }
    return at;
}

static void print(const fb_search_result *r, const uint32_t *front, uint32_t n)
{
    table *t = table_new("rrrrrl", "network|bytes|KL, nats|top-1 %|agreement %|method");
    for (uint32_t i = 0; i < n; i++) {
        const fb_search_trial *x = &r->trials[front[i]];
        table_cell(t, "%u", i + 1);
        table_cell(t, "%s", show_count(x->bytes));
        table_cell(t, "%.4f", x->loss);
        table_cell(t, "%s", show_number(100 * x->correct, 2));
        table_cell(t, "%s", show_number(100 * x->agree, 2));
        table_cell(t, "%s", x->method);
    }
    table_print(t);
}

static int emit(const arguments *args, const fb_search_result *r, const uint32_t *front, uint32_t n)
{
    json_t *report = json_report("search"), *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_push(list, trial_json(&r->trials[front[i]]));
    json_put(report, "folder", json_text(args->files[0]));
    json_put(report, "trials", json_integer(r->n_trials));
    json_put(report, "front", list);
    return json_emit(args, report);
}

static int pick(const arguments *args, const uint32_t *front, uint32_t n)
{
    fb_model *model;
    if (args->pick > n)
        return fail(EXIT_USAGE, "search: --pick %u: the front of '%s' has %u networks", args->pick,
                    args->files[0], n);
    fb_status status = fb_search_pick(args->files[0], front[args->pick - 1], &model);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    status = fb_model_save(model, args->output);
    fb_model_close(&model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, args->output);
}

static int check(const arguments *args)
{
    if (args->given[OPT_PICK] != (args->output != NULL))
        return fail(EXIT_USAGE, "search: --pick and --output belong together");
    if (args->given[OPT_FORCE] && !args->output && !args->json_file)
        return fail(EXIT_USAGE, "search: --force has no effect without --output");
    int code = args->output ? check_output(args, NULL) : EXIT_DONE;
    return code == EXIT_DONE ? json_check(args) : code;
}

static int run(const arguments *args)
{
    fb_search_result r = {0};
    uint32_t n = 0, *front;
    int code = check(args);
    if (code != EXIT_DONE)
        return code;
    fb_status status = fb_search_read(args->files[0], &r);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    front = list_front(&r, &n);
    if (!front)
        code = fail(EXIT_FAILED, "no memory for %u networks", r.n_trials);
    else if (args->pick)
        code = pick(args, front, n);
    else if (want_tables(args))
        print(&r, front, n);
    if (code == EXIT_DONE && args->json)
        code = emit(args, &r, front, n);
    free(front);
    fb_search_free(&r);
    return code;
}

const command cmd_search = {
    .name = "search",
    .operands = "FOLDER",
    .min_files = 1,
    .max_files = 1,
    .summary = "networks that a search has found, from the smallest to the closest",
    .example = "fewbit search net.fewbit.search\n"
               "fewbit search net.fewbit.search --pick 2 -o smaller.fewbit\n",
    .notes =
        "FOLDER is what fewbit compress --max-drop or --max-size keeps beside its output. The\n"
        "networks that no other beats in bytes and divergence at once are listed; any can be\n"
        "written without a new search. Accuracies are those of the images that chose: measure\n"
        "what you pick with fewbit eval on others.\n",
    .options = {OPT_PICK, OPT_OUTPUT, OPT_FORCE, OPT_JSON, OPT_QUIET, OPT_END},
    .run = run,
};
