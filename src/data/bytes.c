#define _POSIX_C_SOURCE 200809L
#include "data/bytes.h"

#include "base/alloc.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

void *fb_data_room(fb_data_buffer *buffer, size_t n)
{
    if (buffer->p && buffer->cap >= n)
        return buffer->p;
    /* Nothing is kept, so the old block goes before the new one comes. */
    fb_data_buffer_free(buffer);
    size_t want = n + n / 8;
    if (want < n)
        want = n;
    buffer->p = fb_alloc(want);
    if (!buffer->p) {
        fb_fail(FB_E_MEMORY, "out of memory for %zu bytes of data", want);
        return NULL;
    }
    buffer->cap = want;
    return buffer->p;
}

void fb_data_buffer_free(fb_data_buffer *buffer)
{
    fb_free(buffer->p);
    buffer->p = NULL;
    buffer->cap = 0;
}

fb_status fb_data_bytes_open(const char *path, fb_data_bytes *out)
{
    *out = FB_DATA_BYTES_NONE;
    /* Without O_NONBLOCK the opening of a pipe would wait for its other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int reason = errno;
        if (fd >= 0)
            close(fd);
        return fb_fail(FB_E_IO, "cannot read '%s': %s", path, strerror(reason));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return fb_fail(FB_E_IO, "cannot read '%s': it is not a regular file", path);
    }
    out->fd = fd;
    out->size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
    return FB_OK;
}

fb_data_bytes fb_data_bytes_memory(const void *mem, size_t n)
{
    fb_data_bytes bytes = FB_DATA_BYTES_NONE;
    bytes.mem = mem;
    bytes.size = n;
    return bytes;
}

void fb_data_bytes_close(fb_data_bytes *bytes)
{
    if (bytes->fd >= 0)
        close(bytes->fd);
    fb_free(bytes->owned);
    *bytes = FB_DATA_BYTES_NONE;
}

fb_status fb_data_bytes_read(const fb_data_bytes *bytes, uint64_t offset, void *to, size_t n,
                             const char *name)
{
    if (offset > bytes->size || n > bytes->size - offset)
        return fb_fail(FB_E_FORMAT,
                       "'%s' is cut short: it has %llu bytes, and %zu are wanted at %llu", name,
                       (unsigned long long)bytes->size, n, (unsigned long long)offset);
    offset += bytes->base;
    if (bytes->fd < 0) {
        if (n)
            memcpy(to, bytes->mem + offset, n);
        return FB_OK;
    }
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(bytes->fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fb_fail(FB_E_IO, "cannot read '%s': %s", name, strerror(errno));
        if (got == 0)
            return fb_fail(FB_E_FORMAT, "'%s' became shorter while it was read", name);
        done += (size_t)got;
    }
    return FB_OK;
}

void fb_data_bytes_narrow(fb_data_bytes *bytes, uint64_t offset, uint64_t n)
{
    bytes->base += offset;
    bytes->size = n;
}

fb_status fb_data_file_read(const char *path, uint64_t max, fb_data_buffer *buffer, size_t *n)
{
    fb_data_bytes bytes;
    FB_TRY(fb_data_bytes_open(path, &bytes));
    fb_status status = FB_OK;
    if (bytes.size > max)
        FB_GO(fb_fail(FB_E_LIMIT, "'%s' has %llu bytes, and %llu is the limit", path,
                      (unsigned long long)bytes.size, (unsigned long long)max));
    *n = (size_t)bytes.size;
    if (!fb_data_room(buffer, *n))
        FB_GO(FB_E_MEMORY);
    FB_GO(fb_data_bytes_read(&bytes, 0, buffer->p, *n, path));
fail:
    fb_data_bytes_close(&bytes);
    return status;
}

/* ---- zlib ---- */

enum { CHUNK = 1 << 16 };

typedef struct unpacker {
    z_stream z;
    const fb_data_bytes *packed;
    const char *name;
    uint64_t at; /* next byte of packed to feed */
    void *out;
    size_t used, cap;
    uint8_t in[CHUNK];
} unpacker;

static fb_status feed(unpacker *u)
{
    uint64_t left = u->packed->size - u->at;
    size_t n = left < CHUNK ? (size_t)left : CHUNK;
    if (n == 0)
        return fb_fail(FB_E_FORMAT, "'%s' is cut short: its compressed data do not end", u->name);
    FB_TRY(fb_data_bytes_read(u->packed, u->at, u->in, n, u->name));
    u->at += n;
    u->z.next_in = u->in;
    u->z.avail_in = (uInt)n;
    return FB_OK;
}

static fb_status make_room(unpacker *u)
{
    if (u->used > FB_DATA_MAX_UNPACKED - CHUNK)
        return fb_fail(FB_E_LIMIT, "'%s' unpacks to more than %llu bytes, the limit", u->name,
                       (unsigned long long)FB_DATA_MAX_UNPACKED);
    if (!fb_grow(&u->out, &u->cap, u->used + CHUNK, 1))
        return fb_fail(FB_E_MEMORY, "out of memory while unpacking '%s'", u->name);
    u->z.next_out = (Bytef *)u->out + u->used;
    u->z.avail_out = CHUNK;
    return FB_OK;
}

static fb_status unpack_all(unpacker *u)
{
    for (;;) {
        if (u->z.avail_in == 0)
            FB_TRY(feed(u));
        FB_TRY(make_room(u));
        int result = inflate(&u->z, Z_NO_FLUSH);
        u->used += CHUNK - u->z.avail_out;
        if (result == Z_STREAM_END)
            return FB_OK;
        if (result == Z_MEM_ERROR)
            return fb_fail(FB_E_MEMORY, "out of memory while unpacking '%s'", u->name);
        if (result != Z_OK && result != Z_BUF_ERROR)
            return fb_fail(FB_E_FORMAT, "'%s' is damaged: its compressed data are not valid (%s)",
                           u->name, u->z.msg ? u->z.msg : "zlib");
    }
}

fb_status fb_data_unpack(const fb_data_bytes *packed, fb_data_wrap wrap, const char *name,
                         fb_data_bytes *out)
{
    *out = FB_DATA_BYTES_NONE;
    unpacker *u = fb_calloc(1, sizeof *u);
    if (!u)
        return fb_fail(FB_E_MEMORY, "out of memory while unpacking '%s'", name);
    u->packed = packed;
    u->name = name;
    if (inflateInit2(&u->z, wrap == FB_DATA_GZIP ? 16 + MAX_WBITS : -MAX_WBITS) != Z_OK) {
        fb_free(u);
        return fb_fail(FB_E_MEMORY, "out of memory while unpacking '%s'", name);
    }
    fb_status status = unpack_all(u);
    (void)inflateEnd(&u->z);
    if (status == FB_OK) {
        *out = fb_data_bytes_memory(u->out, u->used);
        out->owned = u->out;
    } else {
        fb_free(u->out);
    }
    fb_free(u);
    return status;
}

fb_status fb_data_gunzip_if_packed(fb_data_bytes *bytes, const char *name)
{
    uint8_t magic[2];
    if (bytes->size < sizeof magic)
        return FB_OK;
    FB_TRY(fb_data_bytes_read(bytes, 0, magic, sizeof magic, name));
    if (magic[0] != 0x1f || magic[1] != 0x8b)
        return FB_OK;
    fb_data_bytes plain;
    FB_TRY(fb_data_unpack(bytes, FB_DATA_GZIP, name, &plain));
    fb_data_bytes_close(bytes);
    *bytes = plain;
    return FB_OK;
}
