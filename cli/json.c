/* JSON reports. */
#include "cli.h"
#include "out.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static json_t *need(json_t *value)
{
    if (value)
        return value;
    fprintf(stderr, "fewbit: no memory for the JSON report\n");
    exit(EXIT_FAILED);
}

json_t *json_report(const char *name)
{
    json_t *report = need(json_object());
    json_put(report, "schema", json_sprintf("fewbit/%s-1", name));
    return report;
}

json_t *json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *json_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *value = json_string(text);
    if (value)
        return value;
    char *ascii = strdup(text); /* not UTF-8: a name from some old file */
    for (char *c = ascii; c && *c; c++) {
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    }
    value = ascii ? json_string(ascii) : NULL;
    free(ascii);
    return value;
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, need(value)) != 0)
        need(NULL);
}

void json_push(json_t *array, json_t *value)
{
    if (json_array_append_new(array, need(value)) != 0)
        need(NULL);
}

bool want_tables(const arguments *args)
{
    return !args->json || args->json_file;
}

/* Whether the file is one of our reports: they begin with their schema. */
static bool is_report(const char *path)
{
    char head[64] = "";
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n = fread(head, 1, sizeof head - 1, f);
    fclose(f);
    head[n] = '\0';
    return strstr(head, "\"schema\"") && strstr(head, "fewbit/");
}

int json_check(const arguments *args)
{
    struct stat st;
    if (!args->json_file || stat(args->json_file, &st) != 0 || !S_ISREG(st.st_mode) ||
        st.st_size == 0 || args->force || is_report(args->json_file))
        return EXIT_DONE;
    return fail(EXIT_FAILED, "'%s' exists and is not a report of fewbit, so --json leaves it alone",
                args->json_file);
}

int json_emit(const arguments *args, json_t *report)
{
    const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(17);
    FILE *to = stdout;
    int code = json_check(args);
    if (code == EXIT_DONE && args->json_file && !(to = fopen(args->json_file, "w")))
        code = fail(EXIT_FAILED, "cannot write '%s': %s", args->json_file, strerror(errno));
    if (code == EXIT_DONE) {
        bool bad = json_dumpf(report, to, flags) != 0 || fputc('\n', to) == EOF;
        if (to != stdout)
            bad = fclose(to) != 0 || bad;
        if (bad && to != stdout)
            code = fail(EXIT_FAILED, "cannot write '%s': %s", args->json_file, strerror(errno));
    }
    json_decref(report);
    return code;
}
