/* Pools. Global ones are reductions, which need no layout. */
#include "import/ops_window.h"

static fb_status pool_attr(fb_imp *im, int32_t x, uint32_t n, fb_attr_pool *a)
{
    fb_imp_win w;
    int64_t ceil_mode;
    FB_TRY(fb_imp_window(im, n, fb_imp_shape(im, x)->dims + 2, NULL, &w));
    FB_TRY(fb_imp_attr_int(im, "ceil_mode", 0, 0, 1, &ceil_mode));
    *a = (fb_attr_pool){.kh = w.k[0],
                        .kw = w.k[1],
                        .stride_h = w.stride[0],
                        .stride_w = w.stride[1],
                        .dil_h = w.dil[0],
                        .dil_w = w.dil[1],
                        .pad_t = w.begin[0],
                        .pad_l = w.begin[1],
                        .pad_b = w.end[0],
                        .pad_r = w.end[1],
                        .ceil_mode = (int32_t)ceil_mode};
    return FB_OK;
}

fb_status fb_imp_max_pool(fb_imp *im)
{
    int32_t x = fb_imp_in(im, 0), y, index;
    uint32_t n;
    int64_t order;
    fb_dtype back = 0;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    fb_dtype t = fb_imp_shape(im, x)->dtype;
    if (t != FB_U8 && t != FB_S8)
        FB_TRY(fb_imp_float(im, x, &x, &back));
    FB_TRY(fb_imp_window_rank(im, x, &n));
    FB_TRY(pool_attr(im, x, n, &a.pool));
    FB_TRY(fb_imp_attr_int(im, "storage_order", 0, 0, 1, &order));
    a.pool.index_order = n == 2 ? (int32_t)order : 0;
    FB_TRY(fb_imp_window_enter(im, x, &x));
    if (!fb_imp_has_output(im, 1)) {
        FB_TRY(fb_imp_emit(im, FB_OP_MAX_POOL, &a, 1, &x, &y));
    } else {
        FB_TRY(fb_imp_emit_pool(im, &a, x, &y, &index));
        FB_TRY(fb_imp_window_leave(im, index, n, &index));
        FB_TRY(fb_imp_set(im, 1, index));
    }
    FB_TRY(fb_imp_window_leave(im, y, n, &y));
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_average_pool(fb_imp *im)
{
    int32_t x, y;
    uint32_t n;
    int64_t include;
    fb_dtype back;
    fb_attr a = {0};
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    FB_TRY(fb_imp_window_rank(im, x, &n));
    FB_TRY(pool_attr(im, x, n, &a.pool));
    FB_TRY(fb_imp_attr_int(im, "count_include_pad", 0, 0, 1, &include));
    a.pool.count_include_pad = (int32_t)include;
    FB_TRY(fb_imp_window_enter(im, x, &x));
    FB_TRY(fb_imp_emit(im, FB_OP_AVG_POOL, &a, 1, &x, &y));
    FB_TRY(fb_imp_window_leave(im, y, n, &y));
    return fb_imp_set_as(im, 0, y, back);
}

static fb_status global(fb_imp *im, fb_reduce kind)
{
    int32_t x, y;
    fb_dtype back;
    FB_TRY(fb_imp_want_inputs(im, 1, 1));
    FB_TRY(fb_imp_float(im, fb_imp_in(im, 0), &x, &back));
    int32_t rank = fb_imp_shape(im, x)->rank;
    if (rank < 3)
        return fb_imp_bad(im, "input has %d dims, must have at least 3", (int)rank);
    fb_attr a = {.reduce = {.kind = (int32_t)kind, .keep_dims = 1}};
    for (int32_t i = 2; i < rank; i++)
        a.reduce.axes |= 1 << i;
    FB_TRY(fb_imp_emit(im, FB_OP_REDUCE, &a, 1, &x, &y));
    return fb_imp_set_as(im, 0, y, back);
}

fb_status fb_imp_global_average_pool(fb_imp *im)
{
    return global(im, FB_REDUCE_MEAN);
}

fb_status fb_imp_global_max_pool(fb_imp *im)
{
    return global(im, FB_REDUCE_MAX);
}
