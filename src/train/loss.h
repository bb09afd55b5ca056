/* Losses: their value, and their gradient for what they look at. Means over the batch; sums in
 * double, in order. */
#ifndef FB_TRAIN_LOSS_H
#define FB_TRAIN_LOSS_H

#include <stddef.h>
#include <stdint.h>

/* Cross-entropy of softmax(logits) [n][classes] with labels [n] (each 0 .. classes - 1), the label
 * getting 1 - smoothing + smoothing / classes and every other class smoothing / classes. Adds
 * `weight` times the gradient to g and returns the mean loss (without weight). *correct, if not
 * NULL, grows by the number of rows whose largest logit is the label's (the first of equals). */
double fb_loss_cross_entropy(size_t n, size_t classes, const float *logits, const int32_t *labels,
                             double smoothing, double weight, float *g, uint64_t *correct);

/* Distillation (Hinton et al. 2015): T^2 KL(softmax(teacher / T) || softmax(logits / T)). Adds
 * `weight` times the gradient to g and returns the mean. */
double fb_loss_distill(size_t n, size_t classes, const float *logits, const float *teacher,
                       double temperature, double weight, float *g);

/* Mean of (x - target)^2 over n numbers: for one layer's output. Adds `weight` times the gradient
 * to g and returns the mean. */
double fb_loss_square(size_t n, const float *x, const float *target, double weight, float *g);

#endif
