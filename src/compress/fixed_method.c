/* Fixed point throughout (METHODS D.3): every layer that can gets Qm.f weights, data and
 * accumulators of stated widths. */
#include "base/status.h"
#include "compress/fixed.h"

#include <stdlib.h>
#include <string.h>

enum {
    OPT_ACC,
    OPT_W,
    OPT_D,
    OPT_OVERFLOW,
    OPT_ROUND,
    OPT_HEADROOM,
    OPT_PER,
    OPT_FIT,
    OPT_POSITIVE,
    OPT_SUMS,
    OPT_INCLUDE,
    OPT_EXCLUDE
};

/* auto, data or a number of bits */
static fb_status parse_acc(const char *text, unsigned *bits)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (strcmp(text, "auto") == 0) {
        *bits = FB_ACC_BOUND;
    } else if (strcmp(text, "data") == 0) {
        *bits = FB_ACC_DATA;
    } else {
        if (*text < '0' || *text > '9' || *end || v < FB_ACC_LEAST || v > FB_ACC_MOST)
            return fb_fail(FB_E_ARG, "acc=%s is not auto, data or a number of bits from %d to %d",
                           text, FB_ACC_LEAST, FB_ACC_MOST);
        *bits = (unsigned)v;
    }
    return FB_OK;
}

static fb_status apply(fb_job *job, const fb_recipe_step *step)
{
    const fb_option *o = step->option;
    fb_fixed_rule rule = {.overflow = (fb_overflow)o[OPT_OVERFLOW].choice,
                          .rounding = (fb_rounding)o[OPT_ROUND].choice,
                          .headroom = (int32_t)o[OPT_HEADROOM].number,
                          .per_channel = o[OPT_PER].choice == 1,
                          .least_error = o[OPT_FIT].choice == 1,
                          .positive = o[OPT_POSITIVE].choice == 1,
                          .fit_sums = o[OPT_SUMS].choice == 0};
    fb_fixed_width width = {.w_bits = o[OPT_W].given ? (unsigned)o[OPT_W].number : step->bits,
                            .d_bits = o[OPT_D].given ? (unsigned)o[OPT_D].number : step->bits};
    fb_fixed_net net;
    fb_fixed_width *widths;
    FB_TRY(parse_acc(o[OPT_ACC].text, &width.acc_bits));
    FB_TRY(fb_fixed_measure(job, o[OPT_INCLUDE].text, o[OPT_EXCLUDE].text, &net));
    fb_status status;
    widths = fb_calloc(net.n_layers, sizeof *widths);
    if (!widths) {
        status = fb_fail(FB_E_MEMORY, "no memory for the widths of %u layers", net.n_layers);
        goto fail;
    }
    for (uint32_t k = 0; k < net.n_layers; k++)
        widths[k] = width;
    FB_GO(fb_fixed_assign(&net, &rule, widths, job->model));
    job->model->entropy = true;
fail:
    fb_free(widths);
    fb_fixed_free(&net);
    return status;
}

const fb_method_def fb_method_fixed = {
    .name = "fixed8",
    .stem = "fixed",
    .least_bits = 4,
    .most_bits = 16,
    .summary = "fixed point Qm.f in 8 bits (fixed4 to fixed16): weights, data and accumulators",
    .needs_data = true,
    .n_options = 12,
    .options =
        {
            {.key = "acc",
             .kind = FB_OPTION_TEXT,
             .preset = "auto",
             .meaning = "bits of the accumulator, 8 to 32; auto: it cannot overflow (or 32); data: "
                        "the sums of the calibration images fit"},
            {.key = "w",
             .kind = FB_OPTION_WHOLE,
             .least = 2,
             .most = 16,
             .meaning = "bits of the weights, where not those of the name"},
            {.key = "d",
             .kind = FB_OPTION_WHOLE,
             .least = 4,
             .most = 16,
             .meaning = "bits of the data between layers, likewise"},
            {.key = "overflow",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_OVERFLOW_NAMES,
             .preset = "saturate",
             .meaning = "of a sum: saturate after each product, at the end, or wrap around"},
            {.key = "round",
             .kind = FB_OPTION_CHOICE,
             .choices = FB_ROUNDING_NAMES,
             .preset = "half-up",
             .meaning = "of a sum that becomes an output"},
            {.key = "headroom",
             .kind = FB_OPTION_WHOLE,
             .least = 0,
             .most = 4,
             .preset = "0",
             .meaning = "integer bits of data and sums beyond what calibration saw"},
            {.key = "per",
             .kind = FB_OPTION_CHOICE,
             .choices = "tensor|channel",
             .preset = "tensor",
             .meaning = "a weight format for each layer, or for each output channel"},
            {.key = "fit",
             .kind = FB_OPTION_CHOICE,
             .choices = "max|mse",
             .preset = "max",
             .meaning = "formats that clip nothing seen, or those of least squared error"},
            {.key = "positive",
             .kind = FB_OPTION_CHOICE,
             .choices = "signed|unsigned",
             .preset = "signed",
             .meaning = "codes of data that cannot be negative"},
            {.key = "sums",
             .kind = FB_OPTION_CHOICE,
             .choices = "fit|keep",
             .preset = "fit",
             .meaning = "fit: weights lose fraction bits where the accumulator would not hold the "
                        "sums that calibration saw"},
            {.key = "include",
             .kind = FB_OPTION_TEXT,
             .meaning = "only layers with these names; * and ? stand for any, | separates"},
            {.key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"},
        },
    .apply = apply,
};
