/* Codes of any width and levels, the plain truth. */
#include "kernels/pack_q.h"

static inline uint32_t sign_extended(uint32_t code, unsigned bits)
{
    uint32_t sign = 1u << (bits - 1);
    return (code ^ sign) - sign;
}

/* The next code of a packed row: `held` are the `have` bits that were read and not used yet. */
static inline uint32_t next_code(unsigned bits, const uint8_t **x, uint32_t *held, unsigned *have)
{
    while (*have < bits) {
        *held |= (uint32_t) * (*x)++ << *have;
        *have += 8;
    }
    uint32_t code = *held & ((1u << bits) - 1);
    *held >>= bits;
    *have -= bits;
    return code;
}

void fbk_unpack8_q_ref(unsigned bits, bool is_signed, size_t n, const uint8_t *x, uint8_t *y)
{
    uint32_t held = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t code = next_code(bits, &x, &held, &have);
        y[i] = (uint8_t)(is_signed ? sign_extended(code, bits) : code);
    }
}

void fbk_unpack16_q_ref(unsigned bits, bool is_signed, size_t n, const uint8_t *x, uint16_t *y)
{
    uint32_t held = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t code = next_code(bits, &x, &held, &have);
        y[i] = (uint16_t)(is_signed ? sign_extended(code, bits) : code);
    }
}

/* Appends a code to a packed row. */
static inline void add_code(uint32_t code, unsigned bits, uint8_t **y, uint32_t *held,
                            unsigned *have)
{
    *held |= (code & ((1u << bits) - 1)) << *have;
    for (*have += bits; *have >= 8; *have -= 8) {
        *(*y)++ = (uint8_t)*held;
        *held >>= 8;
    }
}

void fbk_pack8_q_ref(unsigned bits, size_t n, const uint8_t *x, uint8_t *y)
{
    uint32_t held = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++)
        add_code(x[i], bits, &y, &held, &have);
    if (have > 0)
        *y = (uint8_t)held;
}

void fbk_pack16_q_ref(unsigned bits, size_t n, const uint16_t *x, uint8_t *y)
{
    uint32_t held = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++)
        add_code(x[i], bits, &y, &held, &have);
    if (have > 0)
        *y = (uint8_t)held;
}

void fbk_lut_f32_ref(const float table[256], size_t n, const uint8_t *x, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = table[x[i]];
}

void fbk_nearest_f32_ref(const fbk_nearest *q, size_t n, const float *x, uint8_t *y)
{
    unsigned edges = (1u << q->bits) - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned below = 0;
        for (unsigned j = 0; j < edges; j++)
            below += x[i] > q->edge[j];
        y[i] = (uint8_t)below;
    }
}
