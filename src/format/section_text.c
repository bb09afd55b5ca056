/* Sections PREP, LABL and NOTE: what travels with the network. */
#include "format/format.h"

#include <string.h>

void fb_put_prep(fb_out *out, const fb_model *m)
{
    const fb_prep *p = &m->prep;
    if (p->name[0] == '\0')
        return;
    fb_out_text(out, p->name);
    fb_out_varint(out, p->resize_h);
    fb_out_varint(out, p->resize_w);
    fb_out_varint(out, p->crop_h);
    fb_out_varint(out, p->crop_w);
    fb_out_varint(out, (uint64_t)p->order);
    fb_out_f32(out, p->scale);
    for (int c = 0; c < 4; c++)
        fb_out_f32(out, p->mean[c]);
    for (int c = 0; c < 4; c++)
        fb_out_f32(out, p->std[c]);
}

fb_status fb_get_prep(fb_in *in, fb_model *m)
{
    fb_prep *p = &m->prep;
    const char *name = fb_in_text(in, sizeof p->name - 1);
    if (in->status == FB_OK && name[0] == '\0')
        return fb_in_broken(in, "preprocessing has no name");
    memcpy(p->name, name, strlen(name) + 1);
    p->resize_h = (uint32_t)fb_in_count(in, "resize height", UINT32_MAX);
    p->resize_w = (uint32_t)fb_in_count(in, "resize width", UINT32_MAX);
    p->crop_h = (uint32_t)fb_in_count(in, "crop height", UINT32_MAX);
    p->crop_w = (uint32_t)fb_in_count(in, "crop width", UINT32_MAX);
    p->order = (fb_channel_order)fb_in_count(in, "channel order", FB_GRAY);
    p->scale = fb_in_f32(in);
    for (int c = 0; c < 4; c++)
        p->mean[c] = fb_in_f32(in);
    for (int c = 0; c < 4; c++)
        p->std[c] = fb_in_f32(in);
    return fb_in_end(in);
}

/* Every text takes two bytes at least. */
static uint32_t count_of(fb_in *in, const char *what, uint64_t limit, uint64_t texts_each)
{
    uint64_t most = fb_in_left(in) / (2 * texts_each);
    return (uint32_t)fb_in_count(in, what, most < limit ? most : limit);
}

void fb_put_labels(fb_out *out, const fb_model *m)
{
    if (m->n_labels == 0)
        return;
    fb_out_varint(out, m->n_labels);
    for (uint32_t i = 0; i < m->n_labels; i++)
        fb_out_text(out, m->labels[i]);
}

fb_status fb_get_labels(fb_in *in, fb_model *m)
{
    uint32_t n = count_of(in, "number of labels", FB_LIMIT_LABELS, 1);
    m->labels = fb_arena_array(m->arena, n, sizeof *m->labels);
    if (!m->labels)
        return fb_fail(FB_E_MEMORY, "no memory for %u labels", n);
    for (; m->n_labels < n; m->n_labels++)
        m->labels[m->n_labels] = fb_in_text(in, FB_LIMIT_NAME);
    return fb_in_end(in);
}

void fb_put_notes(fb_out *out, const fb_model *m)
{
    if (m->n_notes == 0)
        return;
    fb_out_varint(out, m->n_notes);
    for (size_t i = 0; i < m->n_notes; i++) {
        fb_out_text(out, m->notes[i].key);
        fb_out_text(out, m->notes[i].value);
    }
}

fb_status fb_get_notes(fb_in *in, fb_model *m)
{
    uint32_t n = count_of(in, "number of notes", FB_LIMIT_NOTES, 2);
    m->notes = fb_calloc((size_t)n + 1, sizeof *m->notes);
    if (!m->notes)
        return fb_fail(FB_E_MEMORY, "no memory for %u notes", n);
    m->cap_notes = (size_t)n + 1;
    for (; m->n_notes < n; m->n_notes++) {
        m->notes[m->n_notes].key = fb_in_text(in, FB_LIMIT_NAME);
        m->notes[m->n_notes].value = fb_in_text(in, FB_LIMIT_NOTE);
    }
    return fb_in_end(in);
}
