/* Statistics of one tensor, and of its channels. */
#include "calibrate/stats.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>

fb_status fb_stats_init(fb_stats *s)
{
    *s = (fb_stats){0};
    return fb_hist_init(&s->hist);
}

void fb_stats_free(fb_stats *s)
{
    fb_hist_free(&s->hist);
    *s = (fb_stats){0};
}

/* Four partial results, so that the loop has no chain of dependent operations; their order is
 * fixed, so sums are the same on every machine. */
typedef struct summary {
    float min, max;
    double sum, sum_sq;
} summary;

static summary summarise(const float *x, size_t n)
{
    enum { LANES = 4 };
    float lo[LANES], hi[LANES];
    double sum[LANES] = {0}, sq[LANES] = {0};
    for (int k = 0; k < LANES; k++)
        lo[k] = hi[k] = x[0];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            float v = x[i + k];
            lo[k] = v < lo[k] ? v : lo[k];
            hi[k] = v > hi[k] ? v : hi[k];
            sum[k] += (double)v;
            sq[k] += (double)v * (double)v;
        }
    }
    for (; i < n; i++) {
        lo[0] = x[i] < lo[0] ? x[i] : lo[0];
        hi[0] = x[i] > hi[0] ? x[i] : hi[0];
        sum[0] += (double)x[i];
        sq[0] += (double)x[i] * (double)x[i];
    }
    summary s = {lo[0], hi[0], 0, 0};
    for (int k = 0; k < LANES; k++) {
        s.min = lo[k] < s.min ? lo[k] : s.min;
        s.max = hi[k] > s.max ? hi[k] : s.max;
        s.sum += sum[k];
        s.sum_sq += sq[k];
    }
    return s;
}

fb_status fb_stats_add(fb_stats *s, const float *x, size_t n)
{
    summary b = summarise(x, n);
    if (!isfinite(b.sum)) /* floats that are finite cannot overflow a double sum */
        return fb_fail(FB_E_FORMAT, "a value is not finite");
    bool first = s->n == 0;
    s->min = first || b.min < s->min ? b.min : s->min;
    s->max = first || b.max > s->max ? b.max : s->max;
    s->ema_min = first ? b.min : 0.9f * s->ema_min + 0.1f * b.min;
    s->ema_max = first ? b.max : 0.9f * s->ema_max + 0.1f * b.max;
    s->sum += b.sum;
    s->sum_sq += b.sum_sq;
    s->n += n;
    fb_hist_add(&s->hist, x, n, fmaxf(fabsf(b.min), fabsf(b.max)));
    return FB_OK;
}

fb_status fb_stats_invent(fb_stats *s, uint32_t k, bool positive)
{
    float spread = 1 + fmodf(0.618034f * (float)(k % 1000), 1);
    float lo = positive ? 0 : -spread * (0.5f + 0.5f * fmodf(0.754878f * (float)(k % 1000), 1));
    float x[65];
    for (int i = 0; i < 65; i++)
        x[i] = lo + (spread - lo) * (float)i / 64;
    return fb_stats_add(s, x, 65);
}

fb_status fb_moments_init(fb_moments *m, uint32_t channels)
{
    *m = (fb_moments){.channels = channels, .lo = -INFINITY, .hi = INFINITY};
    m->inside = fb_calloc(channels, sizeof *m->inside);
    m->sum = fb_calloc(channels, sizeof *m->sum);
    m->sum_sq = fb_calloc(channels, sizeof *m->sum_sq);
    if (m->inside && m->sum && m->sum_sq)
        return FB_OK;
    fb_moments_free(m);
    return fb_fail(FB_E_MEMORY, "no memory for the moments of %u channels", channels);
}

void fb_moments_free(fb_moments *m)
{
    fb_free(m->inside);
    fb_free(m->sum);
    fb_free(m->sum_sq);
    *m = (fb_moments){0};
}

void fb_moments_add(fb_moments *m, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += m->channels) {
        for (uint32_t c = 0; c < m->channels; c++) {
            double v = (double)x[i + c];
            m->sum[c] += v;
            m->sum_sq[c] += v * v;
            m->inside[c] += x[i + c] > m->lo && x[i + c] < m->hi;
        }
    }
    m->n += n / m->channels;
}

double fb_moments_inside(const fb_moments *m, uint32_t c)
{
    return m->n ? (double)m->inside[c] / (double)m->n : 0;
}

double fb_moments_mean(const fb_moments *m, uint32_t c)
{
    return m->n ? m->sum[c] / (double)m->n : 0;
}

double fb_moments_variance(const fb_moments *m, uint32_t c)
{
    double mean = fb_moments_mean(m, c);
    double v = m->n ? m->sum_sq[c] / (double)m->n - mean * mean : 0;
    return v > 0 ? v : 0;
}
