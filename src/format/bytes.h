/* Bytes in and out: the small vocabulary that every section of the file is written in.
 *
 *   u8 u16 u32 u64  little-endian
 *   varint          LEB128: 7 bits a byte, lowest first, the top bit says "more"; at most 10 bytes
 *   svarint         a signed number as varint: 0, -1, 1, -2, ... are 0, 1, 2, 3, ...
 *   f32 f64         the IEEE bits as u32, u64
 *   text            varint: bytes shared with the text before in this section; varint: further
 *                   bytes; those bytes. No NUL.
 *
 * Both directions are sticky: after the first failure nothing more is written or read (reads give
 * 0), and one status call at the end of a section tells.
 */
#ifndef FB_FORMAT_BYTES_H
#define FB_FORMAT_BYTES_H

#include "base/alloc.h"
#include "base/status.h"

#include <stdio.h>

typedef struct fb_out {
    uint8_t *data; /* fb_alloc */
    size_t n, cap;
    bool no_memory;
    char *last_text; /* for `text` */
    size_t last_bytes, last_cap;
} fb_out;

void fb_out_free(fb_out *out);
void fb_out_bytes(fb_out *out, const void *data, size_t bytes);
void fb_out_u8(fb_out *out, unsigned v);
void fb_out_u32(fb_out *out, uint32_t v);
void fb_out_u64(fb_out *out, uint64_t v);
void fb_out_varint(fb_out *out, uint64_t v);
void fb_out_svarint(fb_out *out, int64_t v);
void fb_out_f32(fb_out *out, float v);
void fb_out_f64(fb_out *out, double v);
void fb_out_text(fb_out *out, const char *text);

typedef struct fb_in {
    const char *section; /* for sentences */
    const uint8_t *begin, *at, *end;
    fb_status status; /* the first failure; its sentence is set */
    /* Texts are expanded into blocks of an arena. */
    fb_arena *arena;
    char *room;
    size_t room_left, text_total;
    const char *last_text;
    size_t last_bytes;
} fb_in;

fb_in fb_in_of(const char *section, const void *data, size_t bytes, fb_arena *arena);
/* Records a failure unless there was one, and returns the first. */
fb_status fb_in_broken(fb_in *in, const char *format, ...) FB_PRINTF(2, 3);
size_t fb_in_left(const fb_in *in);
const uint8_t *fb_in_bytes(fb_in *in, size_t bytes); /* NULL after a failure */
unsigned fb_in_u8(fb_in *in);
uint32_t fb_in_u32(fb_in *in);
uint64_t fb_in_varint(fb_in *in);
/* A varint that must not exceed `most`; `what` names it in the sentence. */
uint64_t fb_in_count(fb_in *in, const char *what, uint64_t most);
int64_t fb_in_svarint(fb_in *in);
float fb_in_f32(fb_in *in);
double fb_in_f64(fb_in *in);
/* NUL-terminated, in the arena, at most `most` bytes; "" after a failure. */
const char *fb_in_text(fb_in *in, size_t most);
/* The end of a section: no failure, and no byte left. */
fb_status fb_in_end(fb_in *in);

#endif
