/* Element by element on any type: cast, binary, unary. */
#include "kernels/any.h"

#include <math.h>

void fbk_cast_any_ref(fb_dtype to, void *dst, fb_dtype from, const void *src, size_t n)
{
    bool f = fbk_is_float(from);
    for (size_t i = 0; i < n; i++) {
        if (f) {
            fbk_put_f64(to, dst, i, fbk_get_f64(from, src, i));
            continue;
        }
        int64_t v = fbk_get_i64(from, src, i);
        if (!fbk_is_float(to))
            fbk_put_i64(to, dst, i, v);
        else if (to == FB_F32) /* one rounding, not two through double */
            ((float *)dst)[i] = from == FB_U64 ? (float)(uint64_t)v : (float)v;
        else
            fbk_put_f64(to, dst, i, fbk_get_f64(from, src, i));
    }
}

/* base^e modulo 2^64; negative exponents truncate 1 / base^-e, of 0 give 0. */
static int64_t int_pow(int64_t base, int64_t e, bool e_unsigned)
{
    if (e < 0 && !e_unsigned)
        return base == 1 ? 1 : base == -1 ? (e % 2 ? -1 : 1) : 0;
    uint64_t r = 1, b = (uint64_t)base;
    for (uint64_t k = (uint64_t)e; k; k >>= 1) {
        if (k & 1)
            r *= b;
        b *= b;
    }
    return (int64_t)r;
}

static int64_t int_div(int64_t a, int64_t b, bool is_unsigned)
{
    if (b == 0)
        return 0;
    if (is_unsigned)
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b; /* INT64_MIN / -1 would trap */
}

static bool int_less(int64_t a, int64_t b, bool is_unsigned)
{
    return is_unsigned ? (uint64_t)a < (uint64_t)b : a < b;
}

static int64_t int_binary(fbk_binary op, int64_t a, int64_t b, bool is_unsigned, bool b_unsigned)
{
    switch (op) {
    case FBK_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case FBK_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case FBK_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case FBK_DIV:
        return int_div(a, b, is_unsigned);
    case FBK_MAX:
        return int_less(a, b, is_unsigned) ? b : a;
    case FBK_MIN:
        return int_less(a, b, is_unsigned) ? a : b;
    case FBK_POW:
        return int_pow(a, b, b_unsigned);
    default:
        return 0;
    }
}

static double f64_binary(fbk_binary op, double a, double b)
{
    switch (op) {
    case FBK_ADD:
        return a + b;
    case FBK_SUB:
        return a - b;
    case FBK_MUL:
        return a * b;
    case FBK_DIV:
        return a / b;
    case FBK_MAX:
        return isnan(a) || a > b ? a : b;
    case FBK_MIN:
        return isnan(a) || a < b ? a : b;
    case FBK_POW:
        return pow(a, b);
    default:
        return 0;
    }
}

/* The types and operators of a call, which its elements share. */
typedef struct binary_call {
    fbk_binary op;
    fb_dtype ta, tb, ty;
    bool ints;
    double lo, hi;
} binary_call;

/* Not inlined: compilers would unroll the loop into a version for each pair of types, at a minute's
 * cost and for no one's gain. */
static void __attribute__((noinline)) binary_one(const binary_call *c, const void *a, size_t ia,
                                                 const void *b, size_t ib, void *y, size_t iy)
{
    if (c->ints) {
        fbk_put_i64(c->ty, y, iy,
                    int_binary(c->op, fbk_get_i64(c->ta, a, ia), fbk_get_i64(c->tb, b, ib),
                               fbk_is_unsigned(c->ta), fbk_is_unsigned(c->tb)));
        return;
    }
    double v = f64_binary(c->op, fbk_get_f64(c->ta, a, ia), fbk_get_f64(c->tb, b, ib));
    if (fbk_is_float(c->ty))
        v = v < c->lo ? c->lo : v > c->hi ? c->hi : v;
    fbk_put_f64(c->ty, y, iy, v);
}

void fbk_binary_any_ref(fbk_binary op, size_t n, fb_dtype ta, const void *a, ptrdiff_t sa,
                        fb_dtype tb, const void *b, ptrdiff_t sb, fb_dtype ty, void *y, float lo,
                        float hi)
{
    const binary_call call = {.op = op,
                              .ta = ta,
                              .tb = tb,
                              .ty = ty,
                              .ints = !fbk_is_float(ta) && !fbk_is_float(tb) && !fbk_is_float(ty),
                              .lo = (double)lo,
                              .hi = (double)hi};
    for (size_t i = 0; i < n; i++)
        binary_one(&call, a, (size_t)((ptrdiff_t)i * sa), b, (size_t)((ptrdiff_t)i * sb), y, i);
}

/* log(1 + e^x) without overflow for large x or cancellation for small. */
static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double clamp(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x; /* NaN passes */
}

double fbk_unary_f64(fbk_unary op, double a, double b, double x)
{
    switch (op) {
    case FBK_RELU:
        return x < 0 ? 0 : x;
    case FBK_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case FBK_CLIP: /* as max then min: hi wins when lo > hi */
        x = x < a ? a : x;
        return x > b ? b : x;
    case FBK_SIGMOID:
        return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    case FBK_HARD_SIGMOID:
        return clamp(a * x + b, 0, 1);
    case FBK_HARD_SWISH:
        return x * clamp(x / 6 + 0.5, 0, 1);
    case FBK_TANH:
        return tanh(x);
    case FBK_ELU:
        return x < 0 ? a * expm1(x) : x;
    case FBK_SELU:
        return b * (x > 0 ? x : a * expm1(x));
    case FBK_SOFTPLUS:
        return softplus(x);
    case FBK_SOFTSIGN:
        return x / (1 + fabs(x));
    case FBK_EXP:
        return exp(x);
    case FBK_LOG:
        return log(x);
    case FBK_SQRT:
        return sqrt(x);
    case FBK_ABS:
        return fabs(x);
    case FBK_NEG:
        return -x;
    case FBK_ERF:
        return erf(x);
    default:
        return x;
    }
}

/* The four that integers have exactly; false for the others. Bounds of clip beyond the type cannot
 * change anything, because the value itself is within it. */
static bool int_unary(fbk_unary op, float a, float b, fb_dtype t, int64_t x, int64_t *y)
{
    bool is_unsigned = fbk_is_unsigned(t);
    switch (op) {
    case FBK_RELU:
        *y = !is_unsigned && x < 0 ? 0 : x;
        return true;
    case FBK_ABS:
        *y = !is_unsigned && x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
        return true;
    case FBK_NEG:
        *y = (int64_t)(0 - (uint64_t)x);
        return true;
    case FBK_CLIP: {
        double v = t == FB_U64 ? (double)(uint64_t)x : (double)x;
        *y = x;
        if (v < (double)a)
            *y = fbk_trunc_i64((double)a, t == FB_U64), v = (double)a;
        if (v > (double)b)
            *y = fbk_trunc_i64((double)b, t == FB_U64);
        return true;
    }
    default:
        return false;
    }
}

void fbk_unary_any_ref(fbk_unary op, float a, float b, size_t n, fb_dtype t, const void *x, void *y)
{
    bool f = fbk_is_float(t);
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (!f && int_unary(op, a, b, t, fbk_get_i64(t, x, i), &v))
            fbk_put_i64(t, y, i, v);
        else
            fbk_put_f64(t, y, i, fbk_unary_f64(op, (double)a, (double)b, fbk_get_f64(t, x, i)));
    }
}
