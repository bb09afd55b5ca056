#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCE_BYTES = 1024 };

static _Thread_local char sentence[SENTENCE_BYTES];

static void scrub(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            *text = '?';
    }
}

fb_status fb_fail(fb_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char text[SENTENCE_BYTES];
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    scrub(text);
    memcpy(sentence, text, sizeof text);
    return status;
}

fb_status fb_fail_in(fb_status status, const char *format, ...)
{
    char context[SENTENCE_BYTES / 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(context, sizeof context, format, args);
    va_end(args);
    scrub(context);
    char text[2 * SENTENCE_BYTES];
    (void)snprintf(text, sizeof text, "%s: %s", context, sentence);
    memcpy(sentence, text, sizeof sentence - 1);
    sentence[sizeof sentence - 1] = '\0';
    return status;
}

void fb_error_clear(void)
{
    sentence[0] = '\0';
}

const char *fb_error(void)
{
    return sentence;
}

const char *fb_version(void)
{
    return FB_VERSION;
}

const char *fb_status_name(fb_status status)
{
    switch (status) {
    case FB_OK:
        return "ok";
    case FB_E_ARG:
        return "argument";
    case FB_E_MEMORY:
        return "memory";
    case FB_E_IO:
        return "io";
    case FB_E_FORMAT:
        return "format";
    case FB_E_UNSUPPORTED:
        return "unsupported";
    case FB_E_LIMIT:
        return "limit";
    case FB_E_MISMATCH:
        return "mismatch";
    case FB_E_INTERRUPTED:
        return "interrupted";
    case FB_E_INTERNAL:
        return "internal";
    }
    return "unknown";
}
