/* One door to fb_compress for `compress` and `inspect --dry-run`. */
#include "cli.h"

#include <stdlib.h>

/* Class names from the folders of the data, if there is one for every class of the model and
 * nothing better is known. */
static int labels_from_folders(const fb_data *data, fb_model *model)
{
    uint32_t n = fb_data_n_classes(data);
    if (fb_model_n_labels(model) > 0 || n == 0 || n != model_classes(model))
        return EXIT_DONE;
    const char **names = calloc(n, sizeof *names);
    if (!names)
        return fail(EXIT_FAILED, "no memory for %u labels", n);
    bool all = true;
    for (uint32_t i = 0; i < n; i++) {
        names[i] = fb_data_class(data, i);
        all = all && names[i];
    }
    fb_status status = all ? fb_model_set_labels(model, names, n) : FB_OK;
    free(names);
    return status == FB_OK ? EXIT_DONE : fail_status(status, NULL);
}

int prepare_model(const arguments *args, fb_model *model, fb_prep *prep, uint64_t limit,
                  uint32_t parts, fb_data **data)
{
    int code = apply_labels(args, model);
    if (code != EXIT_DONE || (!args->data && !args->prep))
        return code;
    code = choose_prep(args, &model, 1, prep);
    if (code != EXIT_DONE)
        return code;
    if (prep->name[0]) {
        fb_status status = fb_model_set_prep(model, prep);
        if (status != FB_OK)
            return fail_status(status, "--prep");
    }
    if (!args->data)
        return EXIT_DONE;
    code = open_part(args, args->data, prep, model, limit, 0, parts, data);
    return code == EXIT_DONE ? labels_from_folders(*data, model) : code;
}

int squeeze(const arguments *args, const char *path, fb_model *before, bool dry_run, progress *p,
            const listener *errors, fb_model **after)
{
    fb_data *data = NULL;
    fb_prep prep;
    fb_compress_options options;
    *after = NULL;
    int code = prepare_model(args, before, &prep, args->limit, 1, &data);
    if (code == EXIT_DONE) {
        fb_compress_options_default(&options);
        if (args->method)
            options.method = args->method;
        options.data = data;
        options.seed = args->seed;
        options.n_threads = args->threads;
        options.cpu = args->cpu;
        options.dry_run = dry_run; /* reads no image, and the size is exact all the same */
        options.progress = progress_show;
        options.progress_user = p;
        if (errors) {
            options.layer_error = errors->call;
            options.layer_error_user = errors->user;
        }
        fb_status status = fb_compress(before, &options, after);
        progress_clear(p);
        if (status == FB_OK && !fb_model_note(*after, "source"))
            status = fb_model_set_note(*after, "source", base_name(path));
        if (status != FB_OK) {
            code = fail_status(status, path);
            fb_model_close(after);
        }
    }
    fb_data_close(&data);
    return code;
}
