/* A text file with a line "path label" for each image. */
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/number.h"

#include <string.h>

enum { MAX_LINE_BYTES = 8192 };
#define MAX_LIST_BYTES ((uint64_t)1 << 30)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The number at the end of the line, after a blank. *minus: it is one, but below zero. */
static bool split_label(const char *line, size_t n, size_t *path_n, uint64_t *label, bool *minus)
{
    size_t from = n;
    while (from > 0 && !is_blank(line[from - 1]))
        from--;
    if (from == 0)
        return false;
    *minus = line[from] == '-';
    if (!fb_data_read_u64(line + from + *minus, n - from - *minus, UINT64_MAX, label))
        return false;
    while (from > 0 && is_blank(line[from - 1]))
        from--;
    *path_n = from;
    return true;
}

static fb_status add_line(fb_data_set *set, const char *line, size_t n, const char *name,
                          unsigned long long number)
{
    while (n > 0 && is_blank(line[n - 1]))
        n--;
    while (n > 0 && is_blank(line[0])) {
        line++;
        n--;
    }
    if (n == 0)
        return FB_OK;
    if (n > MAX_LINE_BYTES)
        return fb_fail(FB_E_LIMIT, "line %llu of '%s' has %zu bytes, and %d is the limit", number,
                       name, n, MAX_LINE_BYTES);
    size_t path_n = n, at;
    uint64_t label = 0;
    bool minus = false;
    bool labelled = split_label(line, n, &path_n, &label, &minus);
    if (labelled && (minus || label > FB_DATA_MAX_LABEL))
        return fb_fail(FB_E_FORMAT, "line %llu of '%s' has label %s%llu, and labels are 0 to %u",
                       number, name, minus ? "-" : "", (unsigned long long)label,
                       FB_DATA_MAX_LABEL);
    if (set->n > 0 && labelled != (set->labels != NULL))
        return fb_fail(FB_E_FORMAT, "line %llu of '%s' has %s label, unlike the lines before it",
                       number, name, labelled ? "a" : "no");
    FB_TRY(fb_data_set_put(set, line, path_n, &at));
    return fb_data_set_add(set, at, labelled ? (int32_t)label : -1);
}

fb_status fb_data_parse_list(const char *text, size_t n, const char *name, fb_data_set *set)
{
    if (n > 0 && memchr(text, '\0', n))
        return fb_fail(FB_E_FORMAT, "'%s' is not a list of images: it is not text", name);
    size_t at = 0;
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        at = 3; /* the byte order mark of Windows editors */
    for (unsigned long long number = 1; at < n; number++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t line_n = end ? (size_t)(end - (text + at)) : n - at;
        FB_TRY(add_line(set, text + at, line_n, name, number));
        at += line_n + 1;
    }
    if (set->n == 0)
        return fb_fail(FB_E_FORMAT, "no images in '%s' (a list has a line 'path label' for each)",
                       name);
    return FB_OK;
}

fb_status fb_data_read_list(const char *path, fb_data_set *set)
{
    fb_data_buffer text = {NULL, 0};
    size_t n = 0;
    FB_TRY(fb_data_set_root_of(set, path));
    fb_status status = fb_data_file_read(path, MAX_LIST_BYTES, &text, &n);
    if (status == FB_OK)
        status = fb_data_parse_list(text.p, n, path, set);
    fb_data_buffer_free(&text);
    return status;
}
