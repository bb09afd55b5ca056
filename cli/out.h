/* Results: tables for people, JSON for programs. Everything on stdout goes through here. */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include "options.h"

#include <jansson.h>
#include <stdarg.h>

/* --- tables ---------------------------------------------------------------------------------- */

typedef struct table table;

/* One letter a column: 'l' left, 'r' right; titles joined by '|'. Exits on lack of memory. */
table *table_new(const char *align, const char *titles);
/* The next cell; control characters (names come from files of others) are replaced by '?'. */
void table_cell(table *t, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void table_print(table *t); /* prints and frees */
void table_free(table *t);  /* NULL is fine */

/* --- numbers as people read them (each returns one of a few static buffers) ------------------- */

const char *show_bytes(uint64_t bytes);                    /* 1234 B, 12.3 kB, 4.56 MB */
const char *show_count(uint64_t n);                        /* 1,234,567 */
const char *show_time(uint64_t ns);                        /* 12.3 us, 4.56 ms, 1.23 s */
const char *show_number(double v, int digits);             /* "-" for NaN */
const char *show_dims(uint32_t rank, const int64_t *dims); /* Nx32x32x3 */

/* Text from a file with its control characters replaced; long text is cut. */
const char *printable(const char *text);

/* --- JSON ------------------------------------------------------------------------------------ */

/* An object with "schema": "fewbit/NAME-1". */
json_t *json_report(const char *name);
json_t *json_number(double v);       /* null for NaN and infinities */
json_t *json_text(const char *text); /* text from a file, made valid UTF-8 */
void json_put(json_t *object, const char *key, json_t *value); /* steals; exits on lack of memory */
void json_push(json_t *array, json_t *value);
/* Writes and frees the report: to stdout, or to the file of --json=FILE. Returns an exit code. An
 * existing file is replaced only if it is such a report, or with --force. */
int json_emit(const arguments *args, json_t *report);
/* Refuses early what json_emit would refuse at the end. */
int json_check(const arguments *args);
/* True when the tables are wanted: no --json, or --json=FILE. */
bool want_tables(const arguments *args);

#endif
