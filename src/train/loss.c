#include "train/loss.h"

#include <math.h>

/* log sum exp(x / t), safe from overflow. */
static double log_sum(size_t n, const float *x, double t)
{
    double top = (double)x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        top = fmax(top, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)x[i] - top) / t);
    return top / t + log(sum);
}

double fb_loss_cross_entropy(size_t n, size_t classes, const float *logits, const int32_t *labels,
                             double smoothing, double weight, float *g, uint64_t *correct)
{
    double loss = 0, other = smoothing / (double)classes;
    for (size_t i = 0; i < n; i++, logits += classes, g += classes) {
        double norm = log_sum(classes, logits, 1);
        size_t label = (size_t)labels[i], best = 0;
        for (size_t k = 0; k < classes; k++) {
            double log_p = (double)logits[k] - norm;
            double want = other + (k == label ? 1 - smoothing : 0);
            loss -= want * log_p;
            g[k] += (float)(weight * (exp(log_p) - want) / (double)n);
            best = logits[k] > logits[best] ? k : best;
        }
        if (correct)
            *correct += best == label;
    }
    return loss / (double)n;
}

double fb_loss_distill(size_t n, size_t classes, const float *logits, const float *teacher,
                       double temperature, double weight, float *g)
{
    double loss = 0, t = temperature;
    for (size_t i = 0; i < n; i++, logits += classes, teacher += classes, g += classes) {
        double own = log_sum(classes, logits, t), theirs = log_sum(classes, teacher, t);
        for (size_t k = 0; k < classes; k++) {
            double log_q = (double)logits[k] / t - own, log_p = (double)teacher[k] / t - theirs;
            double p = exp(log_p);
            loss += p * (log_p - log_q);
            g[k] += (float)(weight * t * (exp(log_q) - p) / (double)n);
        }
    }
    return t * t * loss / (double)n;
}

double fb_loss_square(size_t n, const float *x, const float *target, double weight, float *g)
{
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)target[i];
        loss += d * d;
        g[i] += (float)(weight * 2 * d / (double)n);
    }
    return loss / (double)n;
}
