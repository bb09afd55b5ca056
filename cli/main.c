/* fewbit: compress trained convolutional networks and run them. Chooses the subcommand. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const command cmd_inspect, cmd_compress, cmd_eval, cmd_run, cmd_bench, cmd_diff, cmd_verify,
    cmd_info, cmd_export, cmd_search, cmd_train, cmd_tune, cmd_why;

const command *const command_table[] = {&cmd_inspect, &cmd_compress, &cmd_search, &cmd_eval,
                                        &cmd_run,     &cmd_bench,    &cmd_diff,   &cmd_why,
                                        &cmd_verify,  &cmd_info,     &cmd_export,
#ifdef FB_HAS_TRAIN
                                        &cmd_train,   &cmd_tune,
#endif
                                        NULL};

const command *command_find(const char *name)
{
    for (size_t i = 0; command_table[i]; i++) {
        if (strcmp(command_table[i]->name, name) == 0)
            return command_table[i];
    }
    return NULL;
}

static void print_overview(FILE *to)
{
    fprintf(to, "fewbit compresses trained convolutional networks and runs them fast.\n\n"
                "  fewbit compress net.onnx --data imgs/ --prep imagenet --method int8 -o "
                "net.fewbit\n"
                "  fewbit eval net.onnx net.fewbit --data val/\n\n"
                "Commands:\n");
    for (size_t i = 0; command_table[i]; i++)
        fprintf(to, "  %-9s %s\n", command_table[i]->name, command_table[i]->summary);
    fprintf(to, "\n'fewbit COMMAND --help' explains one, 'fewbit --version' tells the version.\n"
                "Exit codes: 0 done, 1 failed, 2 usage, 3 bounds of a search missed, 4 model not\n"
                "supported, 5 verification mismatch, 6 why found something, 130 interrupted.\n");
}

static void print_option(const option_def *o, const command *c)
{
    char left[64], extra[48] = "";
    char letter[5] = {'-', o->letter, ',', ' ', '\0'};
    const char *open = o->arg == ARG_MAY ? "[=" : o->arg == ARG_NEEDED ? " " : "";
    snprintf(left, sizeof left, "%s--%s%s%s%s", o->letter ? letter : "    ", o->name, open,
             o->value, o->arg == ARG_MAY ? "]" : "");
    if (o->id == OPT_THREADS)
        snprintf(extra, sizeof extra, " (default %u)", c->threads);
    else if (o->id == OPT_BATCH)
        snprintf(extra, sizeof extra, " (default %u)", c->batch);
    else if (o->id == OPT_LIMIT && c->limit)
        snprintf(extra, sizeof extra, " (default %llu)", (unsigned long long)c->limit);
    printf("  %-22s  %s%s\n", left, o->help, extra);
}

static void print_help(const command *c)
{
    printf("%s\nUsage: fewbit %s %s%s[OPTION...]\n\n%c%s.\n\nOptions:\n", c->example, c->name,
           c->operands, *c->operands ? " " : "", toupper((unsigned char)*c->summary),
           c->summary + 1);
    for (size_t i = 0; c->options[i] != OPT_END; i++)
        print_option(&option_table[c->options[i]], c);
    print_option(&option_table[OPT_HELP], c);
    if (*c->notes)
        printf("\n%s", c->notes);
}

/* For completion and tests: commands, or "--name<TAB>-letter<TAB>value" of one command's options.
 */
static int print_options(const char *name)
{
    const command *c = name ? command_find(name) : NULL;
    for (size_t i = 0; !name && command_table[i]; i++)
        puts(command_table[i]->name);
    if (name && !c)
        return EXIT_USAGE;
    for (int id = 1; c && id < OPT_COUNT; id++) {
        const option_def *o = &option_table[id];
        if (!command_takes(c, (option_id)id))
            continue;
        printf("--%s\t%s%c\t%s\n", o->name, o->letter ? "-" : "", o->letter ? o->letter : ' ',
               o->value);
    }
    return EXIT_DONE;
}

static int run_command(const command *c, int argc, char **argv)
{
    arguments args;
    int code = arguments_parse(c, argc, argv, &args);
    if (code != EXIT_DONE)
        return code;
    if (args.given[OPT_HELP]) {
        print_help(c);
        return EXIT_DONE;
    }
    interrupt_setup();
    return c->run(&args);
}

static int dispatch(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("fewbit %s\n", fb_version());
        return EXIT_DONE;
    }
    if (strcmp(name, "--print-options") == 0)
        return print_options(argc > 2 ? argv[2] : NULL);
    bool help = strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (help && argc == 2) {
        print_overview(stdout);
        return EXIT_DONE;
    }
    const command *c = command_find(help ? argv[2] : name);
    if (!c)
        return fail(EXIT_USAGE, "unknown command '%s'; 'fewbit help' lists them",
                    help ? argv[2] : name);
    if (help) {
        print_help(c);
        return EXIT_DONE;
    }
    return run_command(c, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* numbers keep their point in every locale */
    int code = dispatch(argc, argv);
    errno = 0;
    bool bad = ferror(stdout) != 0;
    if ((fclose(stdout) != 0 || bad) && code == EXIT_DONE)
        code = fail(EXIT_FAILED, "cannot write the results: %s",
                    errno ? strerror(errno) : "the output is closed or full");
    return code;
}
