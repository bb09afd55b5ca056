/* Finished trials of single layers on disk. */
#include "search/state.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct rows {
    fb_sense_row *rows;
    bool *found;
    uint32_t n;
} rows;

/* Rows that are not of this study, and damaged ones, are passed over. */
static fb_status take_row(void *user, const char *line, size_t n)
{
    const rows *known = user;
    fb_sense_row r;
    uint32_t what;
    (void)n;
    if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %la %la", &r.layer, &what, &r.bits,
               &r.loss, &r.correct) != 5)
        return FB_OK;
    for (uint32_t i = 0; i < known->n; i++) {
        fb_sense_row *row = &known->rows[i];
        if (row->layer == r.layer && (uint32_t)row->what == what && row->bits == r.bits) {
            row->loss = r.loss;
            row->correct = r.correct;
            known->found[i] = true;
        }
    }
    return FB_OK;
}

fb_status fb_state_open(const char *path, const char *key, fb_sense_row *list, bool *found,
                        uint32_t n, fb_lines *state)
{
    static const fb_lines_kind kind = {.magic = "fewbit sensitivity 1 ",
                                       .name = "a file of sensitivities",
                                       .owner =
                                           "another model, other data or another number of images",
                                       .take = take_row};
    rows known = {list, found, n};
    return fb_lines_open(path, &kind, key, &known, state);
}

fb_status fb_state_add(const fb_lines *state, const fb_sense_row *r)
{
    char line[160];
    (void)snprintf(line, sizeof line, "%" PRIu32 " %d %" PRIu32 " %a %a", r->layer, (int)r->what,
                   r->bits, r->loss, r->correct);
    return fb_lines_add(state, line, "");
}
