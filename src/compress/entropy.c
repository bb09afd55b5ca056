/* How weights lie in the file (METHODS N.2): entropy-coded, smaller and decoded at load; or as they
 * are, larger and mapped into memory. Nothing else changes. `int8` ends with it. */
#include "compress/method.h"

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    job->model->entropy = step->option[0].choice == 0;
    return FB_OK;
}

const fb_method_def fb_method_entropy = {
    .name = "entropy",
    .summary = "entropy-codes weights of 8 bits or fewer in the file, where that saves bytes",
    .needs_data = false,
    .n_options = 1,
    .options = {{.key = "weights",
                 .kind = FB_OPTION_CHOICE,
                 .choices = "on|off",
                 .preset = "on",
                 .meaning = "off: large weights are mapped instead of decoded at load"}},
    .apply = apply,
};
