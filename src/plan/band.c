/* A layer whose activations are packed, or levels, in bands of output rows.
 *
 * A tile of the step is one band of one image:
 *
 *   stored input rows --codec--> [rows in][w][c] in scratch --the layer's own kernels-->
 *       [rows out][w][c] in scratch --codec--> stored output rows
 *
 * so that no tensor is ever unpacked as a whole. The layer is prepared once as a layer on a small
 * image, of the shape of a band, by the same function that prepares it on a whole one; its tiles
 * run one after the other. A convolution gets the padding above and below its image as rows of data
 * (the zero point, or 0), so that all bands have one shape and share packed weights; rows beyond
 * the last are computed and dropped. Pools, which count or skip what is padding, are prepared for
 * each shape of band that there is: at the top, within, at the bottom.
 *
 * The numbers are those of the whole layer: integer kernels do not know how an image was cut, and
 * float kernels sum in an order that depends on the window and the channels alone. */
#include "plan/band.h"

#include "plan/codec.h"

#include <string.h>

enum {
    MOST_IN = 8,
    BAND_BYTES = 96 * 1024, /* of rows in scratch: they and a block of weights fit L2 */
    LEAST_BANDS = 8         /* of an image that has as many rows: work for threads */
};

typedef struct band_input {
    fb_codec codec;
    bool whole;          /* a constant, or one row for all: handed over as it is */
    bool real_pad;       /* rows above the image are not read */
    bool one_image;      /* every image of the batch reads the first */
    int32_t stride, pad; /* row of band row 0: y0 * stride - pad */
    size_t n_rows;       /* of an image */
    size_t row_elems, row_bytes, work_bytes; /* bytes of a row: stored, in scratch */
    size_t at;                               /* in scratch */
    uint32_t fill;                           /* a row of padding: this byte, repeated */
} band_input;

/* One shape of band. */
typedef struct band_shape {
    uint32_t rows_in[MOST_IN], rows_out;
    int32_t pad_t;
    fb_step step; /* the layer on it */
} band_shape;

typedef struct band_params {
    uint32_t n_in, n_bands, rows; /* output rows of a band */
    band_input in[MOST_IN];
    fb_codec out;
    size_t out_rows, row_elems, row_bytes, work_bytes, out_at, scratch_at;
    const band_shape *shapes;
    const uint32_t *shape_of; /* [n_bands] */
} band_params;

/* --- running ---------------------------------------------------------------------------------- */

static const void *read_rows(const band_input *in, const void *stored, size_t image, size_t y0,
                             uint32_t n, char *scratch)
{
    if (in->whole && in->codec.copy && !in->codec.packed)
        return (const char *)stored + (in->one_image ? 0 : image * in->n_rows * in->row_bytes);
    const char *x = (const char *)stored + (in->one_image ? 0 : image) * in->n_rows * in->row_bytes;
    char *to = scratch + in->at;
    int64_t y = in->whole ? 0 : (int64_t)y0 * in->stride - in->pad;
    if (y < 0 && in->real_pad)
        y = 0;
    for (uint32_t k = 0; k < n; k++, y++, to += in->work_bytes) {
        if (y < 0 || y >= (int64_t)in->n_rows)
            memset(to, (int)in->fill, in->work_bytes);
        else
            fb_codec_read(&in->codec, x + (size_t)y * in->row_bytes, 0, in->row_elems, to);
    }
    return scratch + in->at;
}

static void run_band(const fb_tile *t)
{
    const band_params *b = t->step->params;
    size_t image = t->index / b->n_bands, band = t->index % b->n_bands, y0 = band * b->rows;
    const band_shape *s = &b->shapes[b->shape_of[band]];
    char *scratch = t->scratch;
    const void *in[MOST_IN] = {NULL};
    void *out = scratch + b->out_at;
    for (uint32_t k = 0; k < b->n_in; k++) {
        if (t->in[k])
            in[k] = read_rows(&b->in[k], t->in[k], image, y0, s->rows_in[k], scratch);
    }
    const char *from = s->step.run ? out : in[0]; /* an alias leaves the input in its place */
    fb_tile inner = {.step = &s->step,
                     .in = in,
                     .out = &out,
                     .scratch = scratch + b->scratch_at,
                     .over = t->over};
    for (; s->step.run && inner.index < s->step.n_tiles; inner.index++)
        s->step.run(&inner);
    char *y = (char *)t->out[0] + (image * b->out_rows + y0) * b->row_bytes;
    size_t n = b->out_rows - y0 < b->rows ? b->out_rows - y0 : b->rows;
    for (size_t k = 0; k < n; k++)
        fb_codec_write(&b->out, from + k * b->work_bytes, y + k * b->row_bytes, 0, b->row_elems);
}

/* --- what a band of an operator reads ----------------------------------------------------------
 */

/* The axis that is cut: the rows of images; samples where there are none. */
static int32_t axis_of(const fb_shape *s)
{
    return s->rank >= 3 ? s->rank - 3 : 0;
}

typedef struct window {
    int32_t k, stride, dil, pad; /* along the axis */
    bool real_pad;               /* the padding stays the kernel's */
} window;

/* The window of the operator along the cut axis, false when it has no form in bands. */
static bool window_of(const fb_prepare *p, window *w)
{
    const fb_node *n = p->node;
    const fb_shape *out = &p->out[0]->shape;
    *w = (window){1, 1, 1, 0, false};
    switch (n->op) {
    case FB_OP_CONV:
        *w = (window){n->attr.conv.kh, n->attr.conv.stride_h, n->attr.conv.dil_h,
                      n->attr.conv.pad_t, false};
        return out->rank == 4 && p->in[1]->place == FB_PLACE_CONST &&
               (!p->in[2] || p->in[2]->place == FB_PLACE_CONST);
    case FB_OP_MAX_POOL:
    case FB_OP_AVG_POOL:
        *w = (window){n->attr.pool.kh, n->attr.pool.stride_h, n->attr.pool.dil_h,
                      n->attr.pool.pad_t, true};
        return out->rank == 4 && !p->out[1];
    case FB_OP_UNARY:
    case FB_OP_BINARY:
    case FB_OP_PRELU:
    case FB_OP_SCALE_SHIFT:
    case FB_OP_LRN:
        return true;
    case FB_OP_SOFTMAX:
        return n->attr.softmax.axis_from > axis_of(out);
    case FB_OP_CONCAT:
        return n->attr.axis.axis > axis_of(out);
    default:
        return false;
    }
}

/* Rows of the input that a band of `rows` from y0 reads, without those above and below. */
static uint32_t rows_read(const window *w, int64_t y0, uint32_t rows, int64_t h, int32_t *pad_t)
{
    int64_t first = y0 * w->stride - w->pad;
    int64_t last = first + (int64_t)(rows - 1) * w->stride + (int64_t)(w->k - 1) * w->dil;
    *pad_t = 0;
    if (!w->real_pad)
        return (uint32_t)(last - first + 1);
    if (first < 0) {
        *pad_t = (int32_t)-first;
        first = 0;
    }
    if (last >= h)
        last = h - 1;
    return last >= first ? (uint32_t)(last - first + 1) : 0;
}

/* --- preparing -------------------------------------------------------------------------------- */

typedef struct maker {
    fb_prepare *p;
    fb_work work;
    window w;
    band_params *b;
    band_shape *shapes;
    uint32_t n_shapes;
} maker;

static const fb_slot *input_of(const maker *m, uint32_t k)
{
    return fb_prepare_input(m->p, k);
}

/* True when input `k` is read by rows, false when all bands read all of it; *fits = false when it
 * is neither. */
static bool by_rows(const maker *m, uint32_t k, bool *fits)
{
    const fb_shape *in = &input_of(m, k)->shape;
    const fb_shape *out = &m->p->plan->slots[m->p->step->out[0]].shape;
    bool constant = input_of(m, k)->place == FB_PLACE_CONST;
    int32_t axis = axis_of(out), own = axis - (out->rank - in->rank);
    bool one_row = own < 0 || in->dims[own] == 1;
    for (int32_t i = 0; i < own && constant; i++)
        one_row = one_row && in->dims[i] == 1;
    if (m->p->node->op == FB_OP_CONV && k > 0)
        return false;
    if (constant) {
        *fits = *fits && one_row;
        return false;
    }
    *fits = *fits && in->rank == out->rank;
    bool broadcasts = m->p->node->op == FB_OP_BINARY && one_row && out->dims[axis] > 1;
    /* A band of it could look like an operand that does not broadcast, and sums know the two apart.
     */
    *fits = *fits && (!broadcasts || out->dims[out->rank - 2] > 1);
    return !broadcasts;
}

static size_t images_of(const fb_shape *s)
{
    return fb_dims_product(s, 0, axis_of(s));
}

/* Fills b->in[k] but for its place in scratch; false when the operand does not fit a band. */
static fb_status make_input(maker *m, uint32_t k, bool *fits)
{
    const fb_slot *s = input_of(m, k);
    band_input *in = &m->b->in[k];
    if (!s)
        return FB_OK;
    in->whole = !by_rows(m, k, fits);
    if (!*fits)
        return FB_OK;
    if (in->whole && s->place == FB_PLACE_CONST) {
        in->codec.copy = true;
        in->one_image = true;
        return FB_OK;
    }
    const fb_shape *out = &m->p->plan->slots[m->p->step->out[0]].shape;
    FB_TRY(fb_codec_make(m->p, s, m->work, &in->codec));
    in->one_image = images_of(&s->shape) == 1;
    *fits = in->one_image || images_of(&s->shape) == images_of(out);
    in->n_rows = (size_t)s->shape.dims[axis_of(&s->shape)];
    in->row_elems = s->lay.row_elems;
    in->row_bytes = s->lay.row_bytes;
    in->work_bytes = in->row_elems * in->codec.work_bytes;
    in->stride = in->whole ? 1 : m->w.stride;
    in->pad = m->w.pad;
    in->real_pad = m->w.real_pad;
    fb_encoding grid;
    if (m->work == FB_WORK_CODES && s->enc->kind != FB_ENC_PLAIN && fb_codec_grid(s, &grid)) {
        in->fill = (uint8_t)(grid.zero ? grid.zero[0] : 0);
        *fits = *fits && (grid.bits <= 8 || in->fill == 0);
    }
    return FB_OK;
}

/* Output rows of a band. */
static uint32_t choose_rows(const maker *m, size_t out_rows)
{
    const band_params *b = m->b;
    size_t row = b->work_bytes, rows;
    if (m->p->plan->band_rows)
        return (uint32_t)(m->p->plan->band_rows < out_rows ? m->p->plan->band_rows : out_rows);
    for (uint32_t k = 0; k < b->n_in; k++)
        row += b->in[k].whole ? 0 : b->in[k].work_bytes * (size_t)m->w.stride;
    rows = BAND_BYTES / (row ? row : 1);
    if (rows > (out_rows + LEAST_BANDS - 1) / LEAST_BANDS)
        rows = (out_rows + LEAST_BANDS - 1) / LEAST_BANDS;
    return rows ? (uint32_t)rows : 1;
}

/* Layers in fixed point count what saturates, so that no row may be computed twice or in vain. */
static uint32_t divisor(uint32_t rows, size_t of)
{
    while (of % rows != 0)
        rows--;
    return rows;
}

/* A slot that stands for a band of slot `like`, `rows` long. */
static fb_status band_slot(const maker *m, int32_t like, uint32_t rows, int32_t *index)
{
    fb_plan *plan = m->p->plan;
    fb_slot s = {.place = FB_PLACE_NONE,
                 .shape = plan->slots[like].shape,
                 .enc = &fb_plan_plain,
                 .alias_of = -1};
    fb_encoding *grid = NULL;
    if (plan->slots[like].enc->kind != FB_ENC_PLAIN) {
        s.shape.dtype = FB_F32;
        if (m->work == FB_WORK_CODES) {
            grid = fb_plan_alloc(plan, 1, sizeof *grid);
            if (!grid)
                return fb_plan_no_memory(m->p);
            FB_ENSURE(fb_codec_grid(&plan->slots[like], grid));
            s.shape.dtype = fb_code_dtype(grid->bits, grid->is_signed);
        }
    }
    int32_t axis = axis_of(&s.shape);
    for (int32_t i = 0; i < axis; i++)
        s.shape.dims[i] = 1;
    s.shape.dims[axis] = rows;
    FB_TRY(fb_plan_add_slot(plan, &s, "band", index));
    if (grid)
        plan->slots[*index].enc = grid;
    return FB_OK;
}

/* The node as it is on a band. */
static fb_status band_node(const maker *m, int32_t pad_t, const fb_node **out)
{
    fb_node *n;
    FB_PLAN_ALLOC(m->p, n, 1);
    *n = *m->p->node;
    if (n->op == FB_OP_CONV) {
        n->attr.conv.pad_t = n->attr.conv.pad_b = 0;
    } else if (m->w.real_pad) {
        n->attr.pool.pad_t = pad_t;
    }
    *out = n;
    return FB_OK;
}

/* Prepares the layer on one shape of band. *taken = false when it declines. */
static fb_status prepare_shape(maker *m, band_shape *s, bool *taken)
{
    fb_plan *plan = m->p->plan;
    const fb_step *outer = m->p->step;
    int32_t *slots = fb_plan_alloc(plan, m->b->n_in + 1u, sizeof *slots);
    if (!slots)
        return fb_plan_no_memory(m->p);
    for (uint32_t k = 0; k < m->b->n_in; k++) {
        const band_input *in = &m->b->in[k];
        slots[k] = outer->in[k];
        if (slots[k] >= 0 && plan->slots[slots[k]].place != FB_PLACE_CONST)
            FB_TRY(band_slot(m, outer->in[k], in->whole ? (uint32_t)in->n_rows : s->rows_in[k],
                             &slots[k]));
    }
    FB_TRY(band_slot(m, outer->out[0], s->rows_out, &slots[m->b->n_in]));
    s->step = (fb_step){.name = outer->name,
                        .op = outer->op,
                        .n_in = m->b->n_in,
                        .n_out = 1,
                        .in = slots,
                        .out = slots + m->b->n_in,
                        .n_tiles = 1};
    fb_prepare p = {.plan = plan, .step = &s->step};
    FB_TRY(band_node(m, s->pad_t, &p.node));
    s->step.node = p.node;
    for (uint32_t k = 0; k < m->b->n_in; k++)
        p.in[k] = slots[k] >= 0 ? &plan->slots[slots[k]] : NULL;
    p.out[0] = &plan->slots[slots[m->b->n_in]];
    fb_prepare_fn prepare =
        m->work == FB_WORK_CODES ? fb_plan_op_q(p.node->op) : fb_plan_op_f32(p.node->op);
    FB_TRY(prepare(&p));
    *taken = s->step.kernel != NULL;
    return FB_OK;
}

static bool same_shape(const band_shape *a, const band_shape *b, uint32_t n_in)
{
    return a->rows_out == b->rows_out && a->pad_t == b->pad_t &&
           memcmp(a->rows_in, b->rows_in, n_in * sizeof *a->rows_in) == 0;
}

/* The shape of band `i`; false when a window sees nothing but padding, or so much of it that bands
 * do not pay. */
static bool shape_of_band(const maker *m, uint32_t i, band_shape *s)
{
    const band_params *b = m->b;
    int64_t y0 = (int64_t)i * b->rows;
    *s = (band_shape){.rows_out = b->rows};
    if (m->w.real_pad && (size_t)y0 + b->rows > b->out_rows)
        s->rows_out = (uint32_t)(b->out_rows - (size_t)y0);
    for (uint32_t k = 0; k < b->n_in; k++) {
        if (b->in[k].whole)
            s->rows_in[k] = (uint32_t)b->in[k].n_rows;
        else if (b->in[k].work_bytes)
            s->rows_in[k] = rows_read(&m->w, y0, s->rows_out, (int64_t)b->in[k].n_rows, &s->pad_t);
    }
    return s->rows_in[0] > 0 && s->rows_in[0] <= 4 * b->in[0].n_rows + 64;
}

static fb_status make_shapes(maker *m, bool *taken)
{
    band_params *b = m->b;
    uint32_t *shape_of;
    FB_PLAN_ALLOC(m->p, shape_of, b->n_bands);
    FB_PLAN_ALLOC(m->p, m->shapes, m->w.real_pad ? b->n_bands : 1);
    for (uint32_t i = 0; i < b->n_bands; i++) {
        band_shape s;
        uint32_t at = 0;
        if (!shape_of_band(m, i, &s)) {
            *taken = false;
            return FB_OK;
        }
        while (at < m->n_shapes && !same_shape(&m->shapes[at], &s, b->n_in))
            at++;
        shape_of[i] = at;
        if (at < m->n_shapes)
            continue;
        m->shapes[m->n_shapes++] = s;
        FB_TRY(prepare_shape(m, &m->shapes[at], taken));
        if (!*taken)
            return FB_OK;
    }
    b->shapes = m->shapes;
    b->shape_of = shape_of;
    return FB_OK;
}

/* Places the rows of the largest band in scratch. */
static size_t place(maker *m)
{
    band_params *b = m->b;
    size_t at = 0, scratch = 0, most;
    for (uint32_t k = 0; k < b->n_in; k++) {
        b->in[k].at = at;
        most = 0;
        for (uint32_t i = 0; i < m->n_shapes; i++)
            most = m->shapes[i].rows_in[k] > most ? m->shapes[i].rows_in[k] : most;
        at += fb_round_up(most * b->in[k].work_bytes, FB_ALIGN);
    }
    b->out_at = at;
    b->scratch_at = at + fb_round_up(b->rows * b->work_bytes, FB_ALIGN);
    for (uint32_t i = 0; i < m->n_shapes; i++)
        scratch =
            m->shapes[i].step.scratch_bytes > scratch ? m->shapes[i].step.scratch_bytes : scratch;
    return b->scratch_at + scratch;
}

/* Constants as an f32 layer wants them. */
static fb_status open_constants(maker *m)
{
    fb_step *step = m->p->step;
    int32_t *slots = fb_plan_alloc(m->p->plan, step->n_in + 1u, sizeof *slots);
    if (!slots)
        return fb_plan_no_memory(m->p);
    for (uint32_t k = 0; k < step->n_in; k++) {
        slots[k] = step->in[k];
        bool weight = fb_op_has_weight(m->p->node->op) && k == 1;
        const fb_slot *s = input_of(m, k);
        if (s && s->place == FB_PLACE_CONST && s->enc->kind != FB_ENC_PLAIN && !weight &&
            m->work == FB_WORK_FLOATS)
            FB_TRY(fb_plan_decode_const(m->p->plan, slots[k], &slots[k]));
    }
    step->in = slots;
    return FB_OK;
}

static fb_status make_operands(maker *m, bool *fits)
{
    fb_step *step = m->p->step;
    band_params *b = m->b;
    b->n_in = step->n_in;
    for (uint32_t k = 0; k < b->n_in && *fits; k++)
        FB_TRY(make_input(m, k, fits));
    if (!*fits)
        return FB_OK;
    const fb_slot *out = &m->p->plan->slots[step->out[0]];
    FB_TRY(fb_codec_make(m->p, out, m->work, &b->out));
    b->out_rows = (size_t)out->shape.dims[axis_of(&out->shape)];
    b->row_elems = out->lay.row_elems;
    b->row_bytes = out->lay.row_bytes;
    b->work_bytes = b->row_elems * b->out.work_bytes;
    return FB_OK;
}

static fb_status prepare_band(fb_prepare *p, fb_work work)
{
    maker m = {.p = p, .work = work};
    fb_plan *plan = p->plan;
    fb_step *step = p->step;
    const int32_t *in = step->in;
    bool fits = true, taken = true;
    size_t n_slots = plan->n_slots;
    if (step->n_in > MOST_IN || p->out[0]->shape.rank < 2 || p->out[0]->elems == 0 ||
        !window_of(p, &m.w))
        return FB_OK;
    size_t images = images_of(&p->out[0]->shape);
    FB_PLAN_ALLOC(p, m.b, 1);
    FB_TRY(open_constants(&m));
    FB_TRY(make_operands(&m, &fits));
    if (fits) {
        m.b->rows = choose_rows(&m, m.b->out_rows);
        if (p->node->op == FB_OP_CONV && p->node->attr.conv.fixed.acc_bits)
            m.b->rows = divisor(m.b->rows, m.b->out_rows);
        m.b->n_bands = fb_tiles(m.b->out_rows, m.b->rows);
        FB_TRY(make_shapes(&m, &taken));
    }
    if (!fits || !taken || images > UINT32_MAX / m.b->n_bands) {
        plan->n_slots = n_slots;
        step->in = in;
        return FB_OK;
    }
    const fb_step *first = &m.shapes[0].step;
    step->kernel = first->kernel;
    step->run = run_band;
    step->n_tiles = (uint32_t)images * m.b->n_bands;
    step->scratch_bytes = place(&m);
    step->params = m.b;
    step->macs = first->macs / m.b->rows * m.b->out_rows * images;
    step->counts = first->counts;
    step->from_float = work == FB_WORK_FLOATS;
    return FB_OK;
}

fb_status fb_prepare_band_codes(fb_prepare *p)
{
    return prepare_band(p, FB_WORK_CODES);
}

fb_status fb_prepare_band_floats(fb_prepare *p)
{
    return prepare_band(p, FB_WORK_FLOATS);
}
