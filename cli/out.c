/* Tables and numbers for people. */
#include "out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The command has nothing better to do without memory; the library never exits, this may. */
static void *need(void *p)
{
    if (p)
        return p;
    fprintf(stderr, "fewbit: no memory to show the results\n");
    exit(1);
}

struct table {
    char *align;
    size_t columns;
    char **cells; /* titles first */
    size_t n_cells, cap;
};

/* Characters on the screen, of valid UTF-8. */
static size_t width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void add_cell(table *t, const char *text, size_t n)
{
    if (t->n_cells == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->cells = need(realloc(t->cells, t->cap * sizeof *t->cells));
    }
    char *cell = need(strndup(text, n));
    for (char *c = cell; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    t->cells[t->n_cells++] = cell;
}

table *table_new(const char *align, const char *titles)
{
    table *t = need(calloc(1, sizeof *t));
    t->align = need(strdup(align));
    t->columns = strlen(align);
    for (size_t i = 0; i < t->columns; i++) {
        size_t n = strcspn(titles, "|");
        add_cell(t, titles, n);
        titles += n + (titles[n] == '|');
    }
    return t;
}

void table_cell(table *t, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    add_cell(t, text, strlen(text));
}

static void print_cell(const char *text, size_t wide, bool right, bool last)
{
    int pad = (int)(wide - width(text));
    if (right)
        printf("%*s%s", pad, "", text);
    else
        printf("%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void table_print(table *t)
{
    size_t *wide = need(calloc(t->columns + 1, sizeof *wide));
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width(t->cells[i]);
        if (w > wide[i % t->columns])
            wide[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t c = i % t->columns;
        print_cell(t->cells[i], wide[c], t->align[c] == 'r', c + 1 == t->columns);
    }
    free(wide);
    table_free(t);
}

void table_free(table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t->align);
    free(t);
}

/* A ring of buffers, enough for one printf. */
static char *buffer(void)
{
    static char ring[16][96];
    static unsigned at;
    return ring[at++ % 16];
}

enum { SHOWN = 96 };

const char *printable(const char *text)
{
    static char ring[4][1024];
    static unsigned at;
    char *b = ring[at++ % 4];
    size_t n = 0;
    for (; text && text[n] && n < sizeof ring[0] - 1; n++)
        b[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
    b[n] = '\0';
    return b;
}

const char *show_bytes(uint64_t bytes)
{
    char *b = buffer();
    if (bytes < 10000)
        snprintf(b, SHOWN, "%llu B", (unsigned long long)bytes);
    else if (bytes < 10000000)
        snprintf(b, SHOWN, "%.1f kB", (double)bytes / 1e3);
    else if (bytes < 10000000000)
        snprintf(b, SHOWN, "%.2f MB", (double)bytes / 1e6);
    else
        snprintf(b, SHOWN, "%.2f GB", (double)bytes / 1e9);
    return b;
}

const char *show_count(uint64_t n)
{
    char digits[24], *b = buffer(), *p = b;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < len; i++) {
        *p++ = digits[i];
        if ((len - i) % 3 == 1 && i + 1 < len)
            *p++ = ',';
    }
    *p = '\0';
    return b;
}

const char *show_time(uint64_t ns)
{
    char *b = buffer();
    double v = (double)ns;
    if (ns < 1000000)
        snprintf(b, SHOWN, "%.1f us", v / 1e3);
    else if (ns < 1000000000)
        snprintf(b, SHOWN, "%.3f ms", v / 1e6);
    else
        snprintf(b, SHOWN, "%.3f s", v / 1e9);
    return b;
}

const char *show_number(double v, int digits)
{
    char *b = buffer();
    if (isnan(v))
        snprintf(b, SHOWN, "-");
    else if (isinf(v))
        snprintf(b, SHOWN, v > 0 ? "exact" : "lost");
    else
        snprintf(b, SHOWN, "%.*f", digits, v);
    return b;
}

const char *show_dims(uint32_t rank, const int64_t *dims)
{
    char *b = buffer();
    size_t n = 0;
    b[0] = '\0';
    for (uint32_t i = 0; i < rank && n < SHOWN - 24; i++) {
        const char *x = i ? "x" : "";
        if (dims[i] == -1)
            n += (size_t)snprintf(b + n, SHOWN - n, "%sN", x);
        else if (dims[i] < 0)
            n += (size_t)snprintf(b + n, SHOWN - n, "%s%lldN", x, (long long)-dims[i]);
        else
            n += (size_t)snprintf(b + n, SHOWN - n, "%s%lld", x, (long long)dims[i]);
    }
    if (rank == 0)
        snprintf(b, SHOWN, "scalar");
    return b;
}
