/* How likely chance alone is. */
#include "measure/why.h"

#include <math.h>

double fb_binomial_tail(uint64_t n, uint64_t heads, double p)
{
    double sum = 0, all = (double)n;
    if (heads == 0)
        return 1;
    for (uint64_t k = n; k >= heads; k--) { /* the smallest terms first */
        double up = (double)k;
        double log_ways = lgamma(all + 1) - lgamma(up + 1) - lgamma(all - up + 1);
        double rest = n > k ? (all - up) * log1p(-p) : 0;
        sum += exp(log_ways + up * log(p) + rest);
    }
    return sum < 1 ? sum : 1;
}

double fb_sign_test(uint64_t won, uint64_t lost, uint32_t tests)
{
    double p = (double)tests * fb_binomial_tail(won + lost, won, 0.5);
    return p < 1 ? p : 1;
}
