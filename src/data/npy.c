/* NumPy's .npy: magic, version, a Python dict as text, then the elements. */
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"
#include "data/number.h"

#include <string.h>

enum { MAX_HEADER_BYTES = 65536 };

/* Reads the one form of dict that NumPy writes: string keys; values that are a string, a bool or a
 * tuple of whole numbers. */
typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static bool take(cursor *c, char want)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != want)
        return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool take_string(cursor *c, const char **text, size_t *n)
{
    skip_blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    const char *from = c->at + 1;
    const char *close = memchr(from, *c->at, (size_t)(c->end - from));
    if (!close)
        return false;
    *text = from;
    *n = (size_t)(close - from);
    c->at = close + 1;
    return true;
}

typedef struct header {
    const char *descr;
    size_t descr_n;
    bool fortran, have_fortran, have_shape;
    uint32_t rank;
    uint64_t dims[FB_MAX_RANK + 1];
} header;

static bool take_shape(cursor *c, header *h)
{
    h->have_shape = true;
    h->rank = 0;
    if (!take(c, '('))
        return false;
    while (!take(c, ')')) {
        const char *from = c->at;
        while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
            c->at++;
        if (h->rank == FB_MAX_RANK + 1 ||
            !fb_data_read_u64(from, (size_t)(c->at - from), INT64_MAX, &h->dims[h->rank]))
            return false;
        h->rank++;
        (void)take_word(c, "L"); /* Python 2 wrote long integers so */
        if (!take(c, ',')) {
            if (!take(c, ')'))
                return false;
            return true;
        }
    }
    return true;
}

static bool take_entry(cursor *c, header *h)
{
    const char *key;
    size_t n;
    if (!take_string(c, &key, &n) || !take(c, ':'))
        return false;
    if (n == 5 && memcmp(key, "descr", n) == 0)
        return take_string(c, &h->descr, &h->descr_n);
    if (n == 5 && memcmp(key, "shape", n) == 0)
        return take_shape(c, h);
    if (n != 13 || memcmp(key, "fortran_order", n) != 0)
        return false;
    h->have_fortran = true;
    h->fortran = take_word(c, "True");
    return h->fortran || take_word(c, "False");
}

static bool parse_dict(const char *text, size_t n, header *h)
{
    cursor c = {text, text + n};
    memset(h, 0, sizeof *h);
    if (!take(&c, '{'))
        return false;
    while (!take(&c, '}')) {
        if (!take_entry(&c, h))
            return false;
        if (!take(&c, ',')) {
            if (!take(&c, '}'))
                return false;
            break;
        }
    }
    return h->descr && h->have_fortran && h->have_shape;
}

static fb_status read_elem(const header *h, const char *name, fb_data_elem *elem)
{
    static const struct {
        char code[3];
        fb_data_elem elem;
    } known[] = {{"u1", FB_DATA_U8},  {"b1", FB_DATA_U8},  {"i1", FB_DATA_I8},
                 {"u2", FB_DATA_U16}, {"i2", FB_DATA_I16}, {"u4", FB_DATA_U32},
                 {"i4", FB_DATA_I32}, {"u8", FB_DATA_U64}, {"i8", FB_DATA_I64},
                 {"f2", FB_DATA_F16}, {"f4", FB_DATA_F32}, {"f8", FB_DATA_F64}};
    for (size_t i = 0; h->descr_n == 3 && i < sizeof known / sizeof known[0]; i++) {
        if (memcmp(h->descr + 1, known[i].code, 2) != 0)
            continue;
        bool one_byte = known[i].code[1] == '1';
        if (h->descr[0] == '<' || (h->descr[0] == '|' && one_byte) ||
            (h->descr[0] == '>' && one_byte)) {
            *elem = known[i].elem;
            return FB_OK;
        }
        if (h->descr[0] == '>')
            return fb_fail(FB_E_UNSUPPORTED,
                           "'%s' holds big-endian '%.3s', and little-endian is read; save "
                           "x.astype('<%.2s')",
                           name, h->descr, h->descr + 1);
    }
    return fb_fail(FB_E_UNSUPPORTED,
                   "'%s' holds elements of type '%.*s', and f2, f4, f8, i1 to i8 and u1 "
                   "to u8 are read",
                   name, h->descr_n > 32 ? 32 : (int)h->descr_n, h->descr);
}

static fb_status read_header_text(const fb_data_bytes *bytes, const char *name,
                                  fb_data_buffer *text, size_t *text_n, uint64_t *data_at)
{
    uint8_t raw[12] = {0};
    FB_TRY(fb_data_bytes_read(bytes, 0, raw, 10, name));
    if (memcmp(raw, "\x93NUMPY", 6) != 0)
        return fb_fail(FB_E_FORMAT, "'%s' is not an npy file: it does not start with \\x93NUMPY",
                       name);
    if (raw[6] < 1 || raw[6] > 3)
        return fb_fail(FB_E_UNSUPPORTED, "'%s' is npy version %u, and 1 to 3 are read", name,
                       raw[6]);
    uint64_t at = 10, n = fb_data_u16le(raw + 8);
    if (raw[6] > 1) {
        at = 12;
        FB_TRY(fb_data_bytes_read(bytes, 0, raw, 12, name));
        n = fb_data_u32le(raw + 8);
    }
    if (n > MAX_HEADER_BYTES)
        return fb_fail(FB_E_LIMIT, "'%s' has an npy header of %llu bytes, and %d is the limit",
                       name, (unsigned long long)n, MAX_HEADER_BYTES);
    if (!fb_data_room(text, (size_t)n))
        return FB_E_MEMORY;
    *text_n = (size_t)n;
    *data_at = at + n;
    return fb_data_bytes_read(bytes, at, text->p, *text_n, name);
}

fb_status fb_data_parse_npy(fb_data_bytes *bytes, const char *name, fb_data_set *set)
{
    fb_data_buffer text = {NULL, 0};
    size_t text_n = 0;
    uint64_t data_at = 0;
    header h;
    fb_data_elem elem = FB_DATA_U8;
    fb_status status = FB_OK;
    FB_GO(read_header_text(bytes, name, &text, &text_n, &data_at));
    if (!parse_dict(text.p, text_n, &h))
        FB_GO(fb_fail(FB_E_FORMAT, "'%s' has an npy header that is not a plain array's", name));
    FB_GO(read_elem(&h, name, &elem));
    if (h.fortran && h.rank > 1)
        FB_GO(fb_fail(
            FB_E_UNSUPPORTED,
            "'%s' has fortran_order True, and only False is read; save np.ascontiguousarray(x)",
            name));
    if (h.rank == 0)
        FB_GO(fb_fail(FB_E_FORMAT, "'%s' holds one number, not an array of samples", name));
    FB_GO(fb_data_array_shape(&set->array, elem, FB_DATA_BY_NETWORK, h.rank - 1, h.dims + 1, name));
    FB_GO(fb_data_array_add(&set->array, bytes, data_at,
                            set->array.n_elems * fb_data_elem_bytes(elem), h.dims[0], name));
    set->n = h.dims[0];
fail:
    fb_data_buffer_free(&text);
    fb_data_bytes_close(bytes);
    return status;
}

fb_status fb_data_read_npy(const char *path, const char *labels, fb_data_set *set)
{
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    FB_TRY(fb_data_parse_npy(&bytes, path, set));
    return labels ? fb_data_read_labels(labels, set) : FB_OK;
}
