/* Look-up convolution by tables: plan, packing and tiles; see prod_q_layout.h. */
#ifndef FB_KERNELS_PROD_Q_RUN_H
#define FB_KERNELS_PROD_Q_RUN_H

static uint32_t table_rows(const fbk_prod_q *c, const layout *l, uint32_t rows)
{
    return (rows - 1) * l->stride_h + (c->kh - 1) * c->dil_h + 1;
}

/* Of a pixel and group, with sub-vectors of an even length. */
static size_t codes_bytes(const fbk_prod_q *c, const layout *l)
{
    return fb_round_up((size_t)c->subs * l->pairs * 2 + SLACK, 64);
}

/* Rows of a band that are computed together. */
static uint32_t strip_of(const fbk_prod_q *c, const layout *l, uint32_t rows)
{
    while (rows > 1 && (size_t)rows * l->ow > 4 * MR &&
           table_rows(c, l, rows) * l->row_bytes > STRIP_BYTES)
        rows = (rows + 1) / 2;
    if (l->ow == 1 && rows > MR)
        rows = rows / MR * MR; /* whole micro-tiles where rows are pixels */
    return rows;
}

/* Bands that give threads work, and as few as possible otherwise: each builds the rows of tables
 * above and below it again. One pixel (or a few) is cut by channels instead. */
bool KERNEL(_plan)(fbk_prod_q *c)
{
    if (c->n_words < LEAST_WORDS || c->n_words > MOST_WORDS)
        return false;
    layout l = layout_of(c);
    if (c->d > 64 || (uint64_t)c->kh * c->kw * l.padded > (1u << 22) || c->ic > (1u << 20) ||
        (uint64_t)l.row_bytes * table_rows(c, &l, 1) > (1u << 30))
        return false;
    uint64_t row_lookups = (uint64_t)l.ow * c->oc * c->kh * c->kw * l.tables;
    uint64_t bands = (row_lookups * l.oh + TILE_LOOKUPS - 1) / TILE_LOOKUPS;
    uint64_t most = l.ow == 1 ? (l.oh + 4 * MR - 1) / (4 * MR) : (l.oh + 3) / 4;
    bands = bands > 16 ? 16 : bands;
    bands = bands > most ? most : bands;
    uint32_t rows = (uint32_t)((l.oh + bands - 1) / bands);
    if (l.ow == 1 && rows > MR)
        rows = (rows + MR - 1) / MR * MR;
    c->band = rows;
    c->n_bands = (l.oh + rows - 1) / rows;
    c->strip = strip_of(c, &l, rows);
    c->oc_blocks = c->groups * l.blocks;
    uint64_t splits = 1;
    if ((uint64_t)l.n * c->n_bands == 1 && (uint64_t)l.oh * l.ow <= 4 * MR)
        splits = row_lookups * rows / (TILE_LOOKUPS / 4);
    splits = splits > 8 ? 8 : splits;
    splits = splits > c->oc_blocks ? c->oc_blocks : splits;
    c->n_splits = splits ? (uint32_t)splits : 1;
    c->n_tiles = l.n * c->n_bands * c->n_splits;
    c->packed_bytes = split(c, &l, NULL).bytes;
    c->scratch_bytes =
        fb_round_up(table_rows(c, &l, c->strip) * l.row_bytes, 64) + 2 * codes_bytes(c, &l);
    return true;
}

/* The pieces of `quads` quads at `offset` behind piece `last`, which grows where they touch;
 * returns the new last one. *held: quads since sums were widened. */
static piece *add_pieces(const fbk_prod_q *c, const layout *l, piece *last, size_t offset,
                         uint32_t quads, uint32_t *held)
{
    uint32_t chunk = CHUNK(c);
    while (quads > 0) {
        uint32_t n = quads < chunk ? quads : chunk;
        bool full = *held + n > chunk;
        if (full) {
            last->widen = 1;
            *held = 0;
        }
        if (!full && last->quads && last->offset + last->quads * QUAD * l->words == offset) {
            last->quads += n;
        } else {
            last += last->quads > 0;
            *last = (piece){(uint32_t)offset, n, 0};
        }
        *held += n;
        quads -= n;
        offset += (size_t)n * QUAD * l->words;
    }
    return last;
}

static uint32_t pack_pieces(const fbk_prod_q *c, const layout *l, piece *to)
{
    uint32_t held = 0;
    piece *last = to;
    for (uint32_t r = 0; r < c->kh; r++)
        for (uint32_t q = 0; q < l->quads; q += l->depth)
            for (uint32_t s = 0; s < c->kw; s++) {
                uint32_t n = l->quads - q < l->depth ? l->quads - q : l->depth;
                size_t offset = r * c->dil_h * l->row_bytes + s * c->dil_w * l->pixel_bytes +
                                (size_t)q * QUAD * l->words;
                last = add_pieces(c, l, last, offset, n, &held);
            }
    last->widen = 1;
    return (uint32_t)(last - to) + 1;
}

/* Place of a quad's indices, in the order of the pieces. */
static size_t quad_at(const fbk_prod_q *c, const layout *l, uint32_t r, uint32_t s, uint32_t quad)
{
    uint32_t first = quad / l->depth * l->depth;
    uint32_t n = l->quads - first < l->depth ? l->quads - first : l->depth;
    return (size_t)(r * l->quads + first) * c->kw + s * n + (quad - first);
}

static void pack_indices(const fbk_prod_q *c, const layout *l, const uint8_t *index, uint32_t o,
                         uint8_t *to)
{
    for (uint32_t tap = 0; tap < c->kh * c->kw; tap++) {
        const uint8_t *from = index + ((size_t)o * c->kh * c->kw + tap) * l->tables;
        for (uint32_t t = 0; t < l->tables; t++)
            index_put(to + quad_at(c, l, tap / c->kw, tap % c->kw, t / QUAD) * INDEX_BYTES,
                      t % QUAD, o % l->ocg % NB, from[t]);
    }
}

void KERNEL(_pack)(const fbk_prod_q *c, const fbk_prod_source *s)
{
    layout l = layout_of(c);
    packed p = split(c, &l, c->packed);
    memset(c->packed, 0, c->packed_bytes);
    *p.n_pieces = pack_pieces(c, &l, p.pieces);
    build_pack(c, &l, s->word, p.build);
    uint32_t codes = c->kh * c->kw * l.padded << (c->table_bits - 1);
    for (uint32_t o = 0; o < c->oc; o++) {
        uint32_t block = o / l.ocg * l.blocks + o % l.ocg / NB;
        size_t at = (size_t)block * NB + o % l.ocg % NB;
        p.bias[at] = (int32_t)((uint32_t)s->bias[o] - codes);
        p.scale[at] = s->scale[o];
        pack_indices(c, &l, s->index, o, p.index + block * l.block_bytes);
    }
}

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
    for (uint32_t i = 0; i < n; i += 2, x += 2 * step, to += 2 * l->pixel_bytes) {
        bool two = i + 1 < n;
        for (uint32_t g = 0; g < b->c->groups; g++) {
            const uint8_t *x0 = x + (size_t)g * l->icg, *codes[2];
            uint8_t *at = to + g * l->group_bytes, *ats[2] = {at, two ? at + l->pixel_bytes : at};
            codes[0] = codes_of(b, x0, b->codes);
            codes[1] = two ? codes_of(b, x0 + step, b->codes + b->codes_bytes) : codes[0];
            build_tables(b, g, codes, ats);
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
    micro_fn *const *micros = micros_of(c);
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
               *p.n_pieces,
               c->oc,
               l.chunks,
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
                 p.build,
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

#endif
