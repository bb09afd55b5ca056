/* Patterns of layer names. */
#include "compress/method.h"

#include <string.h>

/* One pattern [p, end) against the whole name; after a mismatch, the last '*' takes one more. */
static bool match(const char *p, const char *end, const char *name)
{
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (p < end && *p == '*') {
            star = p++;
            resume = name;
        } else if (p < end && (*p == '?' || *p == *name)) {
            p++;
            name++;
        } else if (star) {
            p = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (p < end && *p == '*')
        p++;
    return p == end;
}

bool fb_glob(const char *patterns, const char *name)
{
    while (*patterns) {
        const char *end = patterns + strcspn(patterns, "|");
        if (match(patterns, end, name))
            return true;
        patterns = *end ? end + 1 : end;
    }
    return false;
}
