#include "data/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool fb_data_read_u64(const char *text, size_t n, uint64_t max, uint64_t *out)
{
    if (n == 0)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > max)
        return false;
    *out = value;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* strtof reads the decimal point of the locale that the host program has set, hence our own. */
bool fb_data_read_float(const char *text, size_t n, float *out)
{
    enum { MAX_EXPONENT = 400 };
    size_t i = 0;
    bool minus = n > 0 && text[0] == '-';
    if (n > 0 && (text[0] == '-' || text[0] == '+'))
        i++;
    uint64_t mantissa = 0;
    int exponent = 0;
    bool any = false, point = false;
    for (; i < n && (is_digit(text[i]) || (text[i] == '.' && !point)); i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        any = true;
        if (mantissa < UINT64_MAX / 100) {
            mantissa = mantissa * 10 + (uint64_t)(text[i] - '0');
            exponent -= point;
        } else {
            exponent += !point; /* digits beyond a double's precision only count */
        }
        if (exponent < -MAX_EXPONENT || exponent > MAX_EXPONENT)
            return false;
    }
    if (!any)
        return false;
    if (i < n && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        bool down = i < n && text[i] == '-';
        if (i < n && (text[i] == '-' || text[i] == '+'))
            i++;
        uint64_t e;
        if (!fb_data_read_u64(text + i, n - i, MAX_EXPONENT, &e))
            return false;
        exponent += down ? -(int)e : (int)e;
        i = n;
    }
    if (i != n)
        return false;
    /* Powers of ten up to 22 are exact doubles, so that one division rounds once. */
    double power = 1.0;
    for (int k = exponent < 0 ? -exponent : exponent; k > 0; k--)
        power *= 10.0;
    double value = exponent < 0 ? (double)mantissa / power : (double)mantissa * power;
    float f = (float)(minus ? -value : value);
    if (!isfinite(f))
        return false;
    *out = f;
    return true;
}

void fb_data_write_float(float value, char text[FB_DATA_FLOAT_CHARS])
{
    for (int digits = 6; digits <= 9; digits++) {
        char local[FB_DATA_FLOAT_CHARS];
        (void)snprintf(local, sizeof local, "%.*g", digits, (double)value);
        /* Whatever the locale puts for the decimal point becomes one '.'. */
        size_t n = 0;
        for (const char *p = local; *p; p++) {
            if (is_digit(*p) || *p == '-' || *p == '+' || *p == 'e')
                text[n++] = *p;
            else if (n == 0 || text[n - 1] != '.')
                text[n++] = '.';
        }
        text[n] = '\0';
        float back;
        if (fb_data_read_float(text, n, &back) && back == value)
            return;
    }
}
