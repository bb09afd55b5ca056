/* One sentence on stderr, one exit code. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int exit_code(fb_status status)
{
    switch (status) {
    case FB_OK:
        return EXIT_DONE;
    case FB_E_ARG:
        return EXIT_USAGE;
    case FB_E_UNSUPPORTED:
        return EXIT_UNSUPPORTED;
    case FB_E_MISMATCH:
        return EXIT_MISMATCH;
    case FB_E_INTERRUPTED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

/* Names in the sentence may come from a hostile file or command line: one line, nothing that drives
 * a terminal. */
static void print_sentence(const char *text)
{
    char line[2048];
    size_t n = 0;
    for (; text[n] && n < sizeof line - 1; n++)
        line[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
    line[n] = '\0';
    fprintf(stderr, "fewbit: %s\n", line);
}

int fail(int code, const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    print_sentence(text);
    return code;
}

static void print_unsupported(void)
{
    const char *line = fb_onnx_unsupported();
    while (*line) {
        size_t n = strcspn(line, "\n");
        fprintf(stderr, "  ");
        for (size_t i = 0; i < n; i++)
            fputc((unsigned char)line[i] < 0x20 || line[i] == 0x7f ? '?' : line[i], stderr);
        fputc('\n', stderr);
        line += n + (line[n] == '\n');
    }
}

int fail_status(fb_status status, const char *subject)
{
    char text[2048];
    const char *why = fb_error();
    if (!*why)
        why = fb_status_name(status);
    bool named = !subject || strstr(why, subject) != NULL;
    snprintf(text, sizeof text, "%s%s%s", named ? "" : subject, named ? "" : ": ", why);
    print_sentence(text);
    if (status == FB_E_UNSUPPORTED)
        print_unsupported();
    return exit_code(status);
}
