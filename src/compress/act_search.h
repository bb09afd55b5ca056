/* What act<b> finds by trying: bits for each group of activations, and bounds for k-means. Trials
 * run the kernels that ship on calibration images (judge.h). */
#ifndef FB_COMPRESS_ACT_SEARCH_H
#define FB_COMPRESS_ACT_SEARCH_H

#include "compress/act_grid.h"
#include "compress/judge.h"

typedef struct fb_act_trials {
    const fb_activations *a;
    const fb_act_rule *rule;
    fb_judge judge;       /* tells harms, by loss: few images do */
    fb_judge floor;       /* tells accuracy, which takes more; only for bits */
    unsigned first, last; /* bits at the edges, at least */
} fb_act_trials;

/* Holds `images` calibration images, and with `floor_images` > 0 so many for the accuracy. Not for
 * dry runs. After a failure nothing is held. */
fb_status fb_act_trials_open(const fb_activations *a, const fb_act_rule *rule, uint64_t images,
                             uint64_t floor_images, fb_act_trials *t);
void fb_act_trials_close(fb_act_trials *t);

/* Bits for each group (METHODS E.2.2, M.10): the least memory for activations, of all assignments
 * on the convex hull of memory and harm, that loses at most `drop` points of accuracy (of the best
 * class, or with top5 of the best five). Harm is the loss of the network with one group alone in so
 * many bits, groups' harms are added up, and the assignment is judged as a whole, on the images of
 * the floor. bits [n_groups]:
 * in, the most that a group may have; out, what it gets. bound [n_groups] as in fb_act_choose.
 * FB_E_UNSUPPORTED when even the most bits lose more. About (groups) x (widths) + 20 trials. */
fb_status fb_act_search_bits(fb_act_trials *t, double drop, bool top5, const double *bound,
                             unsigned *bits);

/* Bounds for k-means (METHODS E.2.4): one share of the largest value for all groups, from a list
 * that has "none", then twice each group's own, down or up by a quarter or none, wherever the loss
 * falls. bound [n_groups]: in, a start; out, the best found: on the images that judge never worse
 * than none. About 6 x (groups) + 13 trials. */
fb_status fb_act_search_bound(fb_act_trials *t, const unsigned *bits, double *bound);

#endif
