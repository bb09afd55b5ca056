/* Measured accuracy, as notes of the file. */
#include "cli.h"

#include <stdio.h>

static fb_status note_number(fb_model *model, const char *key, double v, int digits)
{
    char text[48];
    snprintf(text, sizeof text, "%.*f", digits, v);
    return fb_model_set_note(model, key, text);
}

fb_status note_accuracy(fb_model *model, const fb_eval_result *r, const char *fingerprint)
{
    fb_status status = note_number(model, "accuracy.images", (double)r[1].images, 0);
    if (status == FB_OK)
        status = fb_model_set_note(model, "accuracy.fingerprint", fingerprint ? fingerprint : "");
    if (status == FB_OK)
        status = note_number(model, "accuracy.agreement", r[1].agreement, 3);
    if (r[1].top1 != r[1].top1) /* NaN: the images have no labels */
        return status;
    if (status == FB_OK)
        status = note_number(model, "accuracy.top1", r[1].top1, 3);
    if (status == FB_OK)
        status = note_number(model, "accuracy.top5", r[1].top5, 3);
    if (status == FB_OK)
        status = note_number(model, "accuracy.float_top1", r[0].top1, 3);
    return status;
}
