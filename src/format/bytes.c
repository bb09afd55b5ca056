#include "format/bytes.h"

#include <stdarg.h>
#include <string.h>

/* All texts of one section together, expanded: shared beginnings must not let a small file fill the
 * memory. */
enum { TEXT_MOST = 64 << 20, TEXT_ROOM = 16384 };

/* ---- out ------------------------------------------------------------------------------------ */

void fb_out_free(fb_out *out)
{
    fb_free(out->data);
    fb_free(out->last_text);
    *out = (fb_out){0};
}

void fb_out_bytes(fb_out *out, const void *data, size_t bytes)
{
    void *items = out->data;
    if (out->no_memory || bytes == 0)
        return;
    if (bytes > SIZE_MAX - out->n || !fb_grow(&items, &out->cap, out->n + bytes, 1)) {
        out->no_memory = true;
        return;
    }
    out->data = items;
    memcpy(out->data + out->n, data, bytes);
    out->n += bytes;
}

void fb_out_u8(fb_out *out, unsigned v)
{
    uint8_t byte = (uint8_t)v;
    fb_out_bytes(out, &byte, 1);
}

void fb_out_u32(fb_out *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        fb_out_u8(out, v >> (8 * i) & 255u);
}

void fb_out_u64(fb_out *out, uint64_t v)
{
    fb_out_u32(out, (uint32_t)v);
    fb_out_u32(out, (uint32_t)(v >> 32));
}

void fb_out_varint(fb_out *out, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        fb_out_u8(out, (unsigned)(v & 127) | 128u);
    fb_out_u8(out, (unsigned)v);
}

void fb_out_svarint(fb_out *out, int64_t v)
{
    uint64_t u = (uint64_t)v << 1;
    fb_out_varint(out, v < 0 ? ~u : u);
}

void fb_out_f32(fb_out *out, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    fb_out_u32(out, bits);
}

void fb_out_f64(fb_out *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    fb_out_u64(out, bits);
}

void fb_out_text(fb_out *out, const char *text)
{
    size_t n = strlen(text), same = 0;
    while (same < n && same < out->last_bytes && text[same] == out->last_text[same])
        same++;
    fb_out_varint(out, same);
    fb_out_varint(out, n - same);
    fb_out_bytes(out, text + same, n - same);
    void *items = out->last_text;
    if (!fb_grow(&items, &out->last_cap, n, 1)) {
        out->no_memory = true;
        out->last_bytes = 0;
        return;
    }
    out->last_text = items;
    if (n > 0)
        memcpy(out->last_text, text, n);
    out->last_bytes = n;
}

/* ---- in ------------------------------------------------------------------------------------- */

fb_in fb_in_of(const char *section, const void *data, size_t bytes, fb_arena *arena)
{
    static const uint8_t nothing[1];
    const uint8_t *p = bytes ? data : nothing;
    return (fb_in){.section = section, .begin = p, .at = p, .end = p + bytes, .arena = arena};
}

fb_status fb_in_broken(fb_in *in, const char *format, ...)
{
    char text[512];
    if (in->status != FB_OK)
        return in->status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    in->status = fb_fail(FB_E_FORMAT, "section %s, byte %zu: %s", in->section,
                         (size_t)(in->at - in->begin), text);
    return in->status;
}

size_t fb_in_left(const fb_in *in)
{
    return (size_t)(in->end - in->at);
}

const uint8_t *fb_in_bytes(fb_in *in, size_t bytes)
{
    if (in->status != FB_OK)
        return NULL;
    if (bytes > fb_in_left(in)) {
        fb_in_broken(in, "%zu bytes are wanted, %zu are left", bytes, fb_in_left(in));
        return NULL;
    }
    const uint8_t *p = in->at;
    in->at += bytes;
    return p;
}

unsigned fb_in_u8(fb_in *in)
{
    const uint8_t *p = fb_in_bytes(in, 1);
    return p ? *p : 0;
}

uint32_t fb_in_u32(fb_in *in)
{
    const uint8_t *p = fb_in_bytes(in, 4);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
             : 0;
}

uint64_t fb_in_varint(fb_in *in)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = fb_in_u8(in);
        if (shift == 63 && byte > 1)
            break;
        v |= (byte & 127) << shift;
        if (byte < 128)
            return v;
    }
    fb_in_broken(in, "a number does not fit into 64 bits");
    return 0;
}

uint64_t fb_in_count(fb_in *in, const char *what, uint64_t most)
{
    uint64_t v = fb_in_varint(in);
    if (v > most) {
        fb_in_broken(in, "%s is %llu, at most %llu is possible here", what, (unsigned long long)v,
                     (unsigned long long)most);
        return 0;
    }
    return v;
}

int64_t fb_in_svarint(fb_in *in)
{
    uint64_t v = fb_in_varint(in);
    return v & 1 ? (int64_t) ~(v >> 1) : (int64_t)(v >> 1);
}

float fb_in_f32(fb_in *in)
{
    uint32_t bits = fb_in_u32(in);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

double fb_in_f64(fb_in *in)
{
    uint64_t low = fb_in_u32(in), bits = low | (uint64_t)fb_in_u32(in) << 32;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static char *text_room(fb_in *in, size_t bytes)
{
    if (bytes > in->room_left) {
        size_t block = bytes > TEXT_ROOM ? bytes : TEXT_ROOM;
        char *room = fb_arena_alloc(in->arena, block);
        if (!room)
            return NULL;
        in->room = room;
        in->room_left = block;
    }
    char *p = in->room;
    in->room += bytes;
    in->room_left -= bytes;
    return p;
}

const char *fb_in_text(fb_in *in, size_t most)
{
    size_t same = (size_t)fb_in_count(in, "length shared with the text before", in->last_bytes);
    size_t more = (size_t)fb_in_count(in, "length of a text", fb_in_left(in));
    const uint8_t *p = fb_in_bytes(in, more);
    if (!p)
        return "";
    if (memchr(p, '\0', more)) {
        fb_in_broken(in, "a text contains a NUL");
        return "";
    }
    size_t n = same + more;
    in->text_total += n;
    if (n > most || in->text_total > TEXT_MOST) {
        fb_in_broken(in, "a text has %zu bytes, at most %zu are possible, %d in all", n, most,
                     (int)TEXT_MOST);
        return "";
    }
    char *text = n > 0 ? text_room(in, n + 1) : NULL;
    if (n > 0 && !text) {
        in->status = fb_fail(FB_E_MEMORY, "no memory for a text of %zu bytes", n);
        return "";
    }
    if (n > 0) {
        memcpy(text, in->last_bytes ? in->last_text : "", same);
        memcpy(text + same, p, more);
        text[n] = '\0';
    }
    in->last_text = n > 0 ? text : "";
    in->last_bytes = n;
    return in->last_text;
}

fb_status fb_in_end(fb_in *in)
{
    if (in->status == FB_OK && in->at != in->end)
        return fb_in_broken(in, "%zu bytes too many", fb_in_left(in));
    return in->status;
}
