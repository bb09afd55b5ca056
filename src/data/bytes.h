/* Bytes in a file or in memory, behind one checked read; and zlib over them. */
#ifndef FB_DATA_BYTES_H
#define FB_DATA_BYTES_H

#include "fewbit/fewbit.h"

/* Growable memory that is reused from sample to sample; zeroed is empty. */
typedef struct fb_data_buffer {
    void *p;
    size_t cap;
} fb_data_buffer;

/* At least n bytes, of no particular content; NULL (with the sentence) when memory is short. */
void *fb_data_room(fb_data_buffer *buffer, size_t n);
void fb_data_buffer_free(fb_data_buffer *buffer);

typedef struct fb_data_bytes {
    const uint8_t *mem; /* NULL when the bytes lie in a file */
    void *owned;        /* what fb_data_bytes_close frees */
    int fd;             /* -1 when there is none */
    uint64_t base;      /* of byte 0 in mem or in the file */
    uint64_t size;
} fb_data_bytes;

/* An empty range: what fb_data_bytes_close leaves. */
#define FB_DATA_BYTES_NONE ((fb_data_bytes){NULL, NULL, -1, 0, 0})

/* A regular file; FB_E_IO with path and reason when it cannot be read. */
fb_status fb_data_bytes_open(const char *path, fb_data_bytes *out);
/* Borrows. */
fb_data_bytes fb_data_bytes_memory(const void *mem, size_t n);
void fb_data_bytes_close(fb_data_bytes *bytes);

/* Exactly n bytes at `offset`; FB_E_FORMAT "'name' is cut short" when they are not there. Threads
 * may read the same bytes at once. */
fb_status fb_data_bytes_read(const fb_data_bytes *bytes, uint64_t offset, void *to, size_t n,
                             const char *name);

/* Narrows to [offset, offset + n), which the caller has checked against size. */
void fb_data_bytes_narrow(fb_data_bytes *bytes, uint64_t offset, uint64_t n);

/* A whole file into `buffer`; FB_E_LIMIT when it holds more than max bytes. */
fb_status fb_data_file_read(const char *path, uint64_t max, fb_data_buffer *buffer, size_t *n);

/* Most bytes that a compressed file or member may unpack to. */
#define FB_DATA_MAX_UNPACKED ((uint64_t)4 << 30)

typedef enum fb_data_wrap { FB_DATA_GZIP, FB_DATA_RAW_DEFLATE } fb_data_wrap;

/* Unpacks all of `packed` into memory that grows as bytes arrive (a header's promise allocates
 * nothing). `name` is for sentences. */
fb_status fb_data_unpack(const fb_data_bytes *packed, fb_data_wrap wrap, const char *name,
                         fb_data_bytes *out);

/* Replaces *bytes by what it unpacks to when it starts as gzip does. */
fb_status fb_data_gunzip_if_packed(fb_data_bytes *bytes, const char *name);

static inline uint32_t fb_data_u16le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t fb_data_u32le(const uint8_t *p)
{
    return fb_data_u16le(p) | fb_data_u16le(p + 2) << 16;
}

static inline uint64_t fb_data_u64le(const uint8_t *p)
{
    return fb_data_u32le(p) | (uint64_t)fb_data_u32le(p + 4) << 32;
}

static inline uint32_t fb_data_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
