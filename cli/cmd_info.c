/* fewbit info: what this binary has and this CPU may use. */
#include "cli.h"
#include "out.h"

#ifdef FB_HAS_TRAIN
#include "fewbit/train.h"
#endif

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What was built in: fewbit needs neither oneDNN nor MPI for the rest. */
static bool has_train(void)
{
#ifdef FB_HAS_TRAIN
    return true;
#else
    return false;
#endif
}

static bool has_mpi(void)
{
#ifdef FB_HAS_TRAIN
    return fb_train_has_mpi();
#else
    return false;
#endif
}

static const char *needs(uint32_t cpu)
{
    static char text[64];
    text[0] = '\0';
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (cpu & bit)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? "," : "",
                     fb_cpu_name(bit));
    }
    return *text ? text : fb_cpu_name(0);
}

static bool usable(uint32_t cpu)
{
    return (cpu & ~fb_cpu_usable()) == 0;
}

static void print_kernels(void)
{
    table *t = table_new("llll", "family|kernel|needs|usable here");
    for (uint32_t i = 0; i < fb_n_kernels(); i++) {
        fb_kernel_info k;
        if (fb_kernel(i, &k) != FB_OK)
            continue;
        table_cell(t, "%s", k.family);
        table_cell(t, "%s", k.name);
        table_cell(t, "%s", needs(k.cpu));
        table_cell(t, "%s", usable(k.cpu) ? "yes" : "no");
    }
    table_print(t);
}

static void print_methods(void)
{
    for (uint32_t i = 0; i < fb_n_methods(); i++) {
        fb_method_info m;
        if (fb_method_at(i, &m) != FB_OK)
            continue;
        printf("%s%s  %s%s\n", i ? "\n" : "", m.name, m.summary,
               m.needs_data ? " (needs --data)"
               : m.trains   ? " (needs fewbit tune)"
                            : "");
        for (const char *line = m.options; *line;) {
            size_t n = strcspn(line, "\n");
            printf("    %.*s\n", (int)n, line);
            line += n + (line[n] == '\n');
        }
    }
}

static json_t *json_kernels(void)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < fb_n_kernels(); i++) {
        fb_kernel_info k;
        if (fb_kernel(i, &k) != FB_OK)
            continue;
        json_t *item = json_object();
        json_put(item, "family", json_text(k.family));
        json_put(item, "kernel", json_text(k.name));
        json_put(item, "needs", json_text(needs(k.cpu)));
        json_put(item, "usable", json_boolean(usable(k.cpu)));
        json_push(list, item);
    }
    return list;
}

static json_t *json_methods(void)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < fb_n_methods(); i++) {
        fb_method_info m;
        if (fb_method_at(i, &m) != FB_OK)
            continue;
        json_t *item = json_object();
        json_put(item, "name", json_text(m.name));
        json_put(item, "summary", json_text(m.summary));
        json_put(item, "options", json_text(m.options));
        json_put(item, "needs_data", json_boolean(m.needs_data));
        json_put(item, "trains", json_boolean(m.trains));
        json_push(list, item);
    }
    return list;
}

static int emit(const arguments *args)
{
    json_t *report = json_report("info"), *levels = json_array();
    json_push(levels, json_text(fb_cpu_name(0)));
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (fb_cpu_usable() & bit)
            json_push(levels, json_text(fb_cpu_name(bit)));
    }
    json_put(report, "version", json_text(fb_version()));
    json_put(report, "cpu", levels);
    json_put(report, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_put(report, "train", json_boolean(has_train()));
    json_put(report, "mpi", json_boolean(has_mpi()));
    json_put(report, "kernels", json_kernels());
    json_put(report, "methods", json_methods());
    return json_emit(args, report);
}

static void print_summary(void)
{
    printf("fewbit %s\ncpu levels usable here: %s%s\ncores: %ld\nkernels: %u, methods: %u\n",
           fb_version(), fb_cpu_usable() ? "ref," : "", needs(fb_cpu_usable()),
           sysconf(_SC_NPROCESSORS_ONLN), fb_n_kernels(), fb_n_methods());
    printf("training: %s\n", has_mpi()     ? "yes, also in several processes (MPI)"
                             : has_train() ? "yes, in one process (built without MPI)"
                                           : "no (built without oneDNN)");
}

static int run(const arguments *args)
{
    int code = json_check(args);
    if (code != EXIT_DONE)
        return code;
    if (want_tables(args)) {
        if (!args->kernels && !args->methods)
            print_summary();
        if (args->kernels)
            print_kernels();
        if (args->kernels && args->methods)
            putchar('\n');
        if (args->methods)
            print_methods();
    }
    return args->json ? emit(args) : EXIT_DONE;
}

const command cmd_info = {
    .name = "info",
    .operands = "",
    .min_files = 0,
    .max_files = 0,
    .summary = "show version, CPU levels, kernels and methods",
    .example = "fewbit info --kernels\n",
    .notes = "The environment variable FEWBIT_CPU (as in --cpu) forbids levels to every command.\n"
             "--json holds everything at once.\n",
    .options = {OPT_KERNELS, OPT_METHODS, OPT_JSON, OPT_END},
    .run = run,
};
