/* Opening what the user named: models, data, labels, outputs. */
#include "cli.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int open_model(const char *path, fb_model **model)
{
    struct stat st;
    *model = NULL;
    if (stat(path, &st) != 0)
        return fail(EXIT_FAILED, "cannot open model '%s': %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return fail(EXIT_FAILED, "'%s' is a folder, not a model file", path);
    fb_status status = fb_open_any(path, model);
    return status == FB_OK ? EXIT_DONE : fail_status(status, path);
}

bool is_fewbit(const char *path)
{
    char head[4] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    return n == sizeof head && memcmp(head + 1, "FWB", 3) == 0;
}

int file_bytes(const char *path, uint64_t *bytes)
{
    struct stat st;
    *bytes = 0;
    if (stat(path, &st) != 0)
        return fail(EXIT_FAILED, "cannot read '%s': %s", path, strerror(errno));
    *bytes = (uint64_t)st.st_size;
    return EXIT_DONE;
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- preprocessing and data ------------------------------------------------------------------ */

static bool same_prep(const fb_prep *a, const fb_prep *b)
{
    char x[512], y[512];
    return fb_prep_format(a, x, sizeof x) == FB_OK && fb_prep_format(b, y, sizeof y) == FB_OK &&
           strcmp(x, y) == 0;
}

/* The prep that the models carry; two that differ need the user's word. */
static int stored_prep(const arguments *args, fb_model *const *models, int n, fb_prep *prep)
{
    for (int i = 0; i < n; i++) {
        const fb_prep *p = fb_model_prep(models[i]);
        if (!p->name[0])
            continue;
        if (prep->name[0] && !same_prep(prep, p))
            return fail(EXIT_USAGE,
                        "the models of '%s' and '%s' carry different preprocessing; say which one "
                        "with --prep",
                        args->files[0], args->files[i]);
        *prep = *p;
    }
    return EXIT_DONE;
}

int choose_prep(const arguments *args, fb_model *const *models, int n, fb_prep *prep)
{
    fb_sample_shape shape;
    fb_status status = fb_prep_parse("", prep);
    if (status == FB_OK)
        status = fb_model_sample_shape(models[0], &shape);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    if (args->prep) {
        status = fb_prep_parse(args->prep, prep);
        if (status != FB_OK)
            return fail_status(status, "--prep");
        if (!*args->prep)
            return fail(EXIT_USAGE, "--prep is empty; 'none' takes pixels as they are");
    } else {
        int code = stored_prep(args, models, n, prep);
        if (code != EXIT_DONE)
            return code;
    }
    bool image = shape.height > 1 || shape.width > 1;
    if (image && !prep->name[0])
        return fail(EXIT_USAGE,
                    "'%s' does not say how an image becomes its input; give --prep (imagenet, "
                    "tensorflow, caffe, cifar10, mnist or none, with key=value changes)",
                    args->files[0]);
    if (image)
        fb_prep_fit(prep, shape.height, shape.width);
    return EXIT_DONE;
}

int open_data(const arguments *args, const char *spec, const fb_prep *prep, const fb_model *model,
              uint64_t limit, fb_data **data)
{
    return open_part(args, spec, prep, model, limit, 0, 1, data);
}

int open_part(const arguments *args, const char *spec, const fb_prep *prep, const fb_model *model,
              uint64_t limit, uint32_t part, uint32_t parts, fb_data **data)
{
    fb_data_options options = {
        .prep = *prep, .limit = limit, .part = part, .parts = parts, .n_threads = args->threads};
    *data = NULL;
    fb_status status = fb_model_sample_shape(model, &options.shape);
    if (status != FB_OK)
        return fail_status(status, args->files[0]);
    status = fb_data_open(spec, &options, data);
    return status == FB_OK ? EXIT_DONE : fail_status(status, spec);
}

fb_measure_options measure_options(const arguments *args, progress *p)
{
    fb_measure_options o;
    fb_measure_options_default(&o);
    o.n_threads = args->threads;
    o.cpu = args->cpu;
    o.tables = args->decode ? FB_TABLES_DECODE : FB_TABLES_LOOKUP;
    o.batch = args->batch;
    o.seed = args->seed;
    o.progress = progress_show;
    o.progress_user = p;
    return o;
}

/* --- labels ---------------------------------------------------------------------------------- */

void free_labels(char **labels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(labels[i]);
    free(labels);
}

int read_labels(const char *path, char ***labels, uint32_t *n)
{
    char *line = NULL;
    size_t cap = 0;
    *labels = NULL;
    *n = 0;
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(EXIT_FAILED, "cannot open labels '%s': %s", path, strerror(errno));
    errno = 0;
    for (ssize_t len; (len = getline(&line, &cap, f)) >= 0;) {
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            line[--len] = '\0';
        char **more = realloc(*labels, (*n + (size_t)1) * sizeof *more);
        if (more)
            *labels = more;
        if (!more || !(more[*n] = strdup(line)))
            break;
        ++*n;
    }
    bool bad = ferror(f) != 0 || !feof(f);
    int why = errno;
    fclose(f);
    free(line);
    if (!bad && *n > 0)
        return EXIT_DONE;
    free_labels(*labels, *n);
    *labels = NULL;
    if (bad)
        return fail(EXIT_FAILED, "cannot read labels '%s': %s", path, strerror(why));
    return fail(EXIT_FAILED, "labels '%s' is empty", path);
}

uint32_t model_classes(const fb_model *model)
{
    fb_tensor_info t;
    uint64_t n = 1;
    int32_t out = fb_model_output(model, 0);
    if (out < 0 || fb_model_tensor(model, (uint32_t)out, &t) != FB_OK)
        return 0;
    for (uint32_t i = 0; i < t.rank; i++) {
        if (i > 0 || t.dims[i] < -1)
            n *= (uint64_t)(t.dims[i] < 0 ? -t.dims[i] : t.dims[i]);
    }
    return n <= UINT32_MAX ? (uint32_t)n : 0;
}

int apply_labels(const arguments *args, fb_model *model)
{
    char **labels;
    uint32_t n;
    if (!args->labels)
        return EXIT_DONE;
    int code = read_labels(args->labels, &labels, &n);
    if (code != EXIT_DONE)
        return code;
    uint32_t classes = model_classes(model);
    if (n != classes) {
        code = fail(EXIT_USAGE, "'%s' names %u classes, but the model has %u outputs", args->labels,
                    n, classes);
    } else {
        fb_status status = fb_model_set_labels(model, (const char *const *)labels, n);
        if (status != FB_OK)
            code = fail_status(status, args->labels);
    }
    free_labels(labels, n);
    return code;
}

/* --- outputs --------------------------------------------------------------------------------- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return b && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static int check_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return fail(EXIT_FAILED, "no memory");
    const char *folder = dirname(copy);
    int code = EXIT_DONE;
    if (access(folder, W_OK | X_OK) != 0)
        code =
            fail(EXIT_FAILED, "cannot write '%s': folder '%s': %s", path, folder, strerror(errno));
    free(copy);
    return code;
}

int check_output(const arguments *args, const char *also)
{
    struct stat st;
    const char *path = args->output;
    for (int i = 0; i < args->n_files; i++) {
        if (same_file(path, args->files[i]))
            return fail(EXIT_USAGE, "output '%s' is the input '%s'; give another name with -o",
                        path, args->files[i]);
    }
    if (same_file(path, also) || same_file(path, args->labels))
        return fail(EXIT_USAGE, "output '%s' is one of the inputs; give another name with -o",
                    path);
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return fail(EXIT_FAILED, "cannot write '%s': it is not a regular file", path);
        if (!args->force)
            return fail(EXIT_FAILED, "'%s' exists; -f replaces it", path);
    }
    return check_folder(path);
}
