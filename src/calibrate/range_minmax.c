/* Everything that was seen, or the average image's extremes (METHODS M.1). */
#include "calibrate/range.h"

fb_range fb_range_minmax(const fb_stats *s)
{
    return fb_range_fit(s, (double)s->min, (double)s->max);
}

fb_range fb_range_ema(const fb_stats *s)
{
    return fb_range_fit(s, (double)s->ema_min, (double)s->ema_max);
}
