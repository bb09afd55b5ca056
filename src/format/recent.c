#include "format/recent.h"

#include "numeric/half.h"

#include <string.h>

/* The word's bits, with the sign lowest. */
static uint32_t turned(float word, unsigned bits)
{
    uint32_t u;
    if (bits == 16) {
        u = fb_f16_from_f64((double)word);
        return (u << 1 | u >> 15) & 0xffffu;
    }
    memcpy(&u, &word, sizeof u);
    return u << 1 | u >> 31;
}

unsigned fb_word_top(float word, unsigned bits)
{
    return turned(word, bits) >> (bits - 8);
}

uint32_t fb_word_rest(float word, unsigned bits)
{
    return turned(word, bits) & ((1u << (bits - 8)) - 1);
}

float fb_word_join(unsigned top, uint32_t rest, unsigned bits)
{
    uint32_t u = top << (bits - 8) | rest;
    float word;
    if (bits == 16)
        return fb_f16_to_f32((uint16_t)(u >> 1 | (u & 1u) << 15));
    u = u >> 1 | u << 31;
    memcpy(&word, &u, sizeof word);
    return word;
}
