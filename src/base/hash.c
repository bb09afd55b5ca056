#include "base/hash.h"

#include <string.h>

/* Primes of the specification. */
#define P1 UINT64_C(0x9E3779B185EBCA87)
#define P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3 UINT64_C(0x165667B19E3779F9)
#define P4 UINT64_C(0x85EBCA77C2B2AE63)
#define P5 UINT64_C(0x27D4EB2F165667C5)

enum { STRIPE = 32 };

static uint64_t rotl(uint64_t v, int n)
{
    return v << n | v >> (64 - n);
}

/* Little-endian loads on any byte order; written out, since gcc 12 turns this into one instruction
 * but not the loop. */
static uint64_t load32(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
}

static uint64_t load64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
    return rotl(lane + input * P2, 31) * P1;
}

/* Whole stripes of 32 bytes; the four lanes do not depend on each other. */
static void stripes(uint64_t lane[4], const uint8_t *p, size_t n)
{
    uint64_t a = lane[0], b = lane[1], c = lane[2], d = lane[3];
    for (; n > 0; n--, p += STRIPE) {
        a = mix(a, load64(p));
        b = mix(b, load64(p + 8));
        c = mix(c, load64(p + 16));
        d = mix(d, load64(p + 24));
    }
    lane[0] = a;
    lane[1] = b;
    lane[2] = c;
    lane[3] = d;
}

void fb_hash_init(fb_hash *h)
{
    memset(h, 0, sizeof *h);
    h->lane[0] = P1 + P2;
    h->lane[1] = P2;
    h->lane[3] = 0 - P1;
}

void fb_hash_add(fb_hash *h, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t have = h->total % STRIPE;
    h->total += bytes;
    if (bytes == 0)
        return;
    if (have + bytes < STRIPE) {
        memcpy(h->rest + have, p, bytes);
        return;
    }
    if (have > 0) {
        memcpy(h->rest + have, p, STRIPE - have);
        stripes(h->lane, h->rest, 1);
        p += STRIPE - have;
        bytes -= STRIPE - have;
    }
    stripes(h->lane, p, bytes / STRIPE);
    memcpy(h->rest, p + bytes / STRIPE * STRIPE, bytes % STRIPE);
}

uint64_t fb_hash_end(const fb_hash *h)
{
    uint64_t v = P5;
    if (h->total >= STRIPE) {
        v = rotl(h->lane[0], 1) + rotl(h->lane[1], 7) + rotl(h->lane[2], 12) + rotl(h->lane[3], 18);
        for (int i = 0; i < 4; i++)
            v = (v ^ mix(0, h->lane[i])) * P1 + P4;
    }
    v += h->total;
    const uint8_t *p = h->rest;
    size_t left = h->total % STRIPE;
    for (; left >= 8; left -= 8, p += 8)
        v = rotl(v ^ mix(0, load64(p)), 27) * P1 + P4;
    for (; left >= 4; left -= 4, p += 4)
        v = rotl(v ^ load32(p) * P1, 23) * P2 + P3;
    for (; left > 0; left--, p++)
        v = rotl(v ^ *p * P5, 11) * P1;
    v = (v ^ v >> 33) * P2;
    v = (v ^ v >> 29) * P3;
    return v ^ v >> 32;
}

uint64_t fb_hash64(const void *data, size_t bytes)
{
    fb_hash h;
    fb_hash_init(&h);
    fb_hash_add(&h, data, bytes);
    return fb_hash_end(&h);
}
