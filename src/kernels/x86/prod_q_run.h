/* Look-up convolution on x86: tables and tiles; see prod_q_layout.h. */

/* A group's codes with sub-vectors of an even length, readable SLACK bytes on. What lies behind a
 * sub-vector's end meets words that are 0. */
static const uint8_t *codes_of(const builder *b, const uint8_t *x, uint8_t *room)
{
    uint32_t d = b->c->d, icg = b->l->icg;
    if (d % 2 == 0 && (size_t)(b->x_end - x) >= (size_t)icg + SLACK)
        return x;
    if (d % 2 == 0) {
        memcpy(room, x, icg);
        return room;
    }
    for (uint32_t m = 0; m < b->c->subs; m++) {
        uint32_t n = icg - m * d < d ? icg - m * d : d;
        for (uint32_t j = 0; j < n; j++)
            room[m * (d + 1) + j] = x[m * d + j];
    }
    return room;
}

/* n neighbouring pixels, two by two; the last may be alone. */
static void build_pixels(const builder *b, const uint8_t *x, uint32_t n, size_t step, uint8_t *to)
{
    const layout *l = b->l;
    size_t steps = l->padded / LANES;
    for (uint32_t i = 0; i < n; i += 2, x += 2 * step, to += 2 * l->pixel_bytes) {
        bool two = i + 1 < n;
        for (uint32_t g = 0; g < b->c->groups; g++) {
            const uint8_t *x0 = x + (size_t)g * l->icg, *codes[2];
            uint8_t *at = to + g * l->group_bytes, *ats[2] = {at, two ? at + l->pixel_bytes : at};
            codes[0] = codes_of(b, x0, b->codes);
            codes[1] = two ? codes_of(b, x0 + step, b->codes + b->codes_bytes) : codes[0];
            build_tables(b, codes, b->p->word + g * steps * l->pairs * LANES * 32,
                         b->p->zero + g * steps * LANES * 16, ats);
        }
    }
}

/* Columns [0, left) and [right, cols) lie in the padding. */
static void build_row(const builder *b, int64_t row, uint8_t *to)
{
    const layout *l = b->l;
    uint32_t step = l->step_w;
    if (row < 0 || row >= l->ih) {
        memset(to, b->fill, l->row_bytes);
        return;
    }
    int64_t pad = b->c->pad_l, limit = ((int64_t)l->iw + pad + step - 1) / step;
    uint32_t left = pad > 0 ? (uint32_t)((pad + step - 1) / step) : 0;
    uint32_t right = limit < l->cols ? (uint32_t)(limit > 0 ? limit : 0) : l->cols;
    left = left < right ? left : right;
    memset(to, b->fill, left * l->pixel_bytes);
    const uint8_t *x = b->x + (row * l->iw + (int64_t)left * step - pad) * (int64_t)b->c->ic;
    build_pixels(b, x, right - left, (size_t)step * b->c->ic, to + left * l->pixel_bytes);
    memset(to + right * l->pixel_bytes, b->fill, (l->cols - right) * l->pixel_bytes);
}

/* The tables of output rows [row, row + rows); the first `kept` rows of tables are there. */
static void build_strip(const builder *b, uint32_t row, uint32_t rows, uint32_t kept,
                        uint8_t *tables)
{
    const layout *l = b->l;
    uint32_t count = table_rows(b->c, l, rows);
    if (l->flat) {
        build_pixels(b, b->x + (size_t)row * b->c->ic, rows, b->c->ic, tables);
        return;
    }
    for (uint32_t i = kept; i < count; i++)
        build_row(b, ((int64_t)row * l->stride_h + i) * l->step_h - b->c->pad_t,
                  tables + i * l->row_bytes);
}

/* All pixels of the strip for one block; `at` is y's element of the strip's first pixel. */
static void run_block(const fbk_prod_q *c, const layout *l, const packed *p, const micro *m,
                      const uint8_t *tables, uint32_t block, uint32_t pixels, size_t at)
{
    uint32_t group = block / l->blocks, first = block % l->blocks * NB;
    micro_block k = {.index = p->index + block * l->block_bytes,
                     .bias = p->bias + (size_t)block * NB,
                     .scale = p->scale + (size_t)block * NB,
                     .n = l->ocg - first < NB ? l->ocg - first : NB};
    const uint8_t *base = tables + group * l->group_bytes, *next = base;
    micro_fn *const *micros = micros_of(c->table_bits);
    uint32_t col = 0;
    at += group * l->ocg + first;
    for (uint32_t done = 0; done < pixels;) {
        uint32_t mr = pixels - done < MR ? pixels - done : MR;
        const uint8_t *x[MR];
        for (uint32_t i = 0; i < mr; i++) {
            x[i] = next;
            next += l->stride_w * l->pixel_bytes;
            if (++col == l->ow) {
                col = 0;
                base += l->stride_h * l->row_bytes;
                next = base;
            }
        }
        micros[mr](m, &k, x, at + (size_t)done * c->oc);
        done += mr;
    }
}

void KERNEL()(const fbk_prod_q *c, const void *x, void *y, void *scratch, uint32_t tile)
{
    layout l = layout_of(c);
    packed p = split(c, &l, c->packed);
    micro m = {p.pieces,
               l.pieces,
               c->oc,
               {c->f32_out, c->f32_out ? c->act_lo : (float)(c->y_lo - c->y_zero),
                c->f32_out ? c->act_hi : (float)(c->y_hi - c->y_zero), (int16_t)c->y_zero},
               y};
    uint32_t part = tile % c->n_splits, band = tile / c->n_splits % c->n_bands;
    uint32_t image = tile / c->n_splits / c->n_bands;
    uint32_t row = band * c->band, end = l.oh - row < c->band ? l.oh : row + c->band;
    size_t image_bytes = (size_t)l.ih * l.iw * c->ic;
    const uint8_t *first = x;
    uint8_t *tables = scratch;
    builder b = {c,
                 &l,
                 &p,
                 first + image * image_bytes,
                 first + l.n * image_bytes,
                 tables + fb_round_up(table_rows(c, &l, c->strip) * l.row_bytes, 64),
                 codes_bytes(c, &l),
                 (uint8_t)(1u << (c->table_bits - 1))};
    memset(b.codes, 0, 2 * b.codes_bytes);
    uint32_t from = (uint32_t)((uint64_t)c->oc_blocks * part / c->n_splits);
    uint32_t to = (uint32_t)((uint64_t)c->oc_blocks * (part + 1) / c->n_splits);
    uint32_t span = (c->kh - 1) * c->dil_h + 1, kept = 0;
    uint32_t common = span > l.stride_h ? span - l.stride_h : 0; /* rows that two strips share */
    for (; row < end; row += c->strip) {
        uint32_t rows = end - row < c->strip ? end - row : c->strip;
        if (kept)
            memmove(tables, tables + c->strip * l.stride_h * l.row_bytes, kept * l.row_bytes);
        build_strip(&b, row, rows, kept, tables);
        kept = common;
        size_t at = ((size_t)image * l.oh + row) * l.ow * c->oc;
        for (uint32_t block = from; block < to; block++)
            run_block(c, &l, &p, &m, tables, block, rows * l.ow, at);
    }
}
