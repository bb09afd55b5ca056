/* A 64-bit FNV-1a hash of texts and numbers, the same on every machine. Not for secrets. */
#ifndef FB_DATA_FINGERPRINT_H
#define FB_DATA_FINGERPRINT_H

#include <stdint.h>

#define FB_DATA_FINGERPRINT_CHARS 17

typedef struct fb_data_print {
    uint64_t hash;
} fb_data_print;

static inline void fb_data_print_start(fb_data_print *f)
{
    f->hash = 0xcbf29ce484222325u;
}

static inline void fb_data_print_byte(fb_data_print *f, uint8_t byte)
{
    f->hash = (f->hash ^ byte) * 0x100000001b3u;
}

/* With the final NUL, so that "ab" "c" is not "a" "bc". */
static inline void fb_data_print_text(fb_data_print *f, const char *text)
{
    do {
        fb_data_print_byte(f, (uint8_t)*text);
    } while (*text++);
}

static inline void fb_data_print_number(fb_data_print *f, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        fb_data_print_byte(f, (uint8_t)(number >> (8 * i)));
}

static inline void fb_data_print_end(const fb_data_print *f, char hex[FB_DATA_FINGERPRINT_CHARS])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        hex[i] = digits[f->hash >> (60 - 4 * i) & 15];
    hex[16] = '\0';
}

#endif
