#include "numeric/grid.h"

#include <math.h>

/* 2^(j/16), nearest floats. */
static const float steps[16] = {0x1.000000p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f,
                                0x1.306fe0p+0f, 0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
                                0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
                                0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};

static int32_t clamp(int32_t k)
{
    return k < FB_GRID_LEAST ? FB_GRID_LEAST : k > FB_GRID_MOST ? FB_GRID_MOST : k;
}

float fb_grid_scale(int32_t k)
{
    k = clamp(k);
    int32_t j = k & 15;
    return ldexpf(steps[j], (k - j) / 16);
}

int32_t fb_grid_up(float scale)
{
    int e;
    float m = 2 * frexpf(scale, &e); /* [1, 2), times 2^(e - 1) */
    int32_t j = 0;
    while (j < 16 && steps[j] < m)
        j++;
    return clamp(16 * (e - 1) + j);
}

bool fb_grid_find(float scale, int32_t *k)
{
    if (!(scale > 0) || !isfinite(scale))
        return false;
    *k = fb_grid_up(scale);
    return fb_grid_scale(*k) == scale;
}
