/* Batch norm statistics re-estimated (METHODS M.12): batch norms are folded, so the correction is
 * the affine one by channel, y -> y sd/sd' + (mean - mean' sd/sd'), folded into weight scales and
 * bias. */
#include "compress/correct.h"

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    return fb_correct(job, FB_CORRECT_MOMENTS, (uint64_t)step->option[0].number, "bn-stats");
}

const fb_method_def fb_method_bn_stats = {
    .name = "bn-stats",
    .summary = "scales and shifts channels so that their mean and variance are the float network's",
    .needs_data = true,
    .n_options = 1,
    .options = {{.key = "images",
                 .kind = FB_OPTION_WHOLE,
                 .least = 1,
                 .most = 1e6,
                 .preset = "64",
                 .meaning = "calibration images to measure on, at most"}},
    .apply = apply,
};
