/* Empirical bias correction (after METHODS M.5): b moves until E[f(W' x' + b)] = E[f(W x)], x' what
 * the quantised layers before give, f the layer's own activation. The published form takes the
 * means before f; there, errors that f throws away (far below a ReLU's zero) outweigh those that
 * matter. */
#include "compress/correct.h"

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    return fb_correct(job, FB_CORRECT_MEAN, (uint64_t)step->option[0].number, "bias-correct");
}

const fb_method_def fb_method_bias_correct = {
    .name = "bias-correct",
    .summary = "shifts biases so that each layer's mean output is the float network's",
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
