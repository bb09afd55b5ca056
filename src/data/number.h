/* Numbers in text, read and written the same under every locale. */
#ifndef FB_DATA_NUMBER_H
#define FB_DATA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits only, all n of them; false when empty, not a number or above `max`. */
bool fb_data_read_u64(const char *text, size_t n, uint64_t max, uint64_t *out);

/* [+-]digits[.digits][e[+-]digits], all n bytes; false when it is not, or not finite as a float.
 * The double nearest to short decimals, rounded to float, as Python and torch read them. */
bool fb_data_read_float(const char *text, size_t n, float *out);

/* Shortest decimals that fb_data_read_float reads back to the same float; NUL-terminated. */
#define FB_DATA_FLOAT_CHARS 32
void fb_data_write_float(float value, char text[FB_DATA_FLOAT_CHARS]);

#endif
