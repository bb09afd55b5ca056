/* Movers: bytes go from one place to another, by element size. */
#include "kernels/any.h"

#include <string.h>

/* n elements of elem_bytes from s (stride ss elements) to d (stride ds). */
static void move_row(size_t n, size_t elem_bytes, const uint8_t *s, ptrdiff_t ss, uint8_t *d,
                     ptrdiff_t ds)
{
    if (ss == 1 && ds == 1) {
        memcpy(d, s, n * elem_bytes);
        return;
    }
    ptrdiff_t step_s = ss * (ptrdiff_t)elem_bytes, step_d = ds * (ptrdiff_t)elem_bytes;
    switch (elem_bytes) {
    case 1:
        for (size_t i = 0; i < n; i++, s += step_s, d += step_d)
            *d = *s;
        break;
    case 2:
        for (size_t i = 0; i < n; i++, s += step_s, d += step_d)
            memcpy(d, s, 2);
        break;
    case 4:
        for (size_t i = 0; i < n; i++, s += step_s, d += step_d)
            memcpy(d, s, 4);
        break;
    default:
        for (size_t i = 0; i < n; i++, s += step_s, d += step_d)
            memcpy(d, s, 8);
        break;
    }
}

void fbk_move_any_ref(const fbk_walk *w, size_t elem_bytes, const void *src, void *dst, size_t row0,
                      size_t n_rows)
{
    int32_t last = w->rank - 1;
    for (size_t row = row0; row < row0 + n_rows; row++) {
        ptrdiff_t off[FBK_WALK_OPERANDS];
        fbk_walk_at(w, row, off);
        move_row(w->dims[last], elem_bytes, (const uint8_t *)src + off[1] * (ptrdiff_t)elem_bytes,
                 w->stride[1][last], (uint8_t *)dst + off[0] * (ptrdiff_t)elem_bytes,
                 w->stride[0][last]);
    }
}

static void fill_row(size_t n, size_t elem_bytes, const uint8_t *fill, uint8_t *d)
{
    for (size_t i = 0; i < n; i++)
        memcpy(d + i * elem_bytes, fill, elem_bytes);
}

void fbk_take_any_ref(const fbk_take *t, const void *src, void *dst, size_t row0, size_t n_rows)
{
    int32_t last = t->rank - 1;
    size_t n = t->dims[last], e = t->elem_bytes;
    const int32_t *map = t->map[last];
    for (size_t row = row0; row < row0 + n_rows; row++) {
        uint8_t *d = (uint8_t *)dst + row * n * e;
        ptrdiff_t off = 0;
        bool inside = true;
        size_t rest = row;
        for (int32_t k = last - 1; k >= 0; k--) {
            size_t i = rest % t->dims[k];
            rest /= t->dims[k];
            ptrdiff_t from = t->map[k] ? t->map[k][i] : (ptrdiff_t)i;
            inside = inside && from >= 0;
            off += from * t->stride[k];
        }
        if (!inside) {
            fill_row(n, e, t->fill, d);
            continue;
        }
        const uint8_t *s = (const uint8_t *)src + off * (ptrdiff_t)e;
        if (!map) {
            move_row(n, e, s, t->stride[last], d, 1);
            continue;
        }
        ptrdiff_t step = t->stride[last] * (ptrdiff_t)e;
        for (size_t i = 0; i < n; i++)
            memcpy(d + i * e, map[i] < 0 ? t->fill : s + map[i] * step, e);
    }
}

void fbk_gather_any_ref(const void *src, size_t axis, size_t inner_bytes, const void *idx,
                        fb_dtype idx_type, size_t n_idx, void *dst, size_t row0, size_t n_rows)
{
    for (size_t row = row0; row < row0 + n_rows; row++) {
        size_t outer = row / n_idx;
        int64_t i = fbk_get_i64(idx_type, idx, row % n_idx);
        if (i < 0)
            i += (int64_t)axis;
        if (i < 0)
            i = 0;
        if (i >= (int64_t)axis)
            i = (int64_t)axis - 1;
        memcpy((uint8_t *)dst + row * inner_bytes,
               (const uint8_t *)src + (outer * axis + (size_t)i) * inner_bytes, inner_bytes);
    }
}
