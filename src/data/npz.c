/* NumPy's .npz: a zip of npy files, of which only the directory at its end is believed. */
#include "data/set.h"

#include "base/alloc.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include <zlib.h>

enum {
    END_BYTES = 22,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    MAX_COMMENT = 65535,
    MAX_DIRECTORY = 16 << 20,
    STORED = 0,
    DEFLATED = 8
};

typedef struct directory {
    fb_data_buffer bytes;
    size_t size;
} directory;

typedef struct entry {
    const uint8_t *name;
    size_t name_n;
    uint32_t flags, method, crc;
    uint64_t packed, plain, local_at;
} entry;

static fb_status damaged(const char *name, const char *why)
{
    return fb_fail(FB_E_FORMAT, "'%s' is not a whole zip file: %s", name, why);
}

static fb_status read_directory(const fb_data_bytes *zip, const char *name, directory *dir)
{
    fb_data_buffer tail = {NULL, 0};
    uint64_t n = zip->size < END_BYTES + MAX_COMMENT ? zip->size : END_BYTES + MAX_COMMENT;
    fb_status status = FB_OK;
    const uint8_t *end = NULL;
    if (!fb_data_room(&tail, (size_t)n))
        FB_GO(FB_E_MEMORY);
    FB_GO(fb_data_bytes_read(zip, zip->size - n, tail.p, (size_t)n, name));
    for (uint64_t at = n >= END_BYTES ? n - END_BYTES + 1 : 0; at-- > 0;) {
        end = (const uint8_t *)tail.p + at;
        if (memcmp(end, "PK\5\6", 4) == 0)
            break;
        end = NULL;
    }
    if (!end)
        FB_GO(damaged(name, "its directory is missing"));
    uint64_t size = fb_data_u32le(end + 12), from = fb_data_u32le(end + 16);
    if (from == UINT32_MAX || size == UINT32_MAX)
        FB_GO(fb_fail(FB_E_UNSUPPORTED, "'%s' is a zip64 file (above 4 GiB), which is not read",
                      name));
    if (from > zip->size || size > zip->size - from || size > MAX_DIRECTORY)
        FB_GO(damaged(name, "its directory lies outside of it"));
    if (!fb_data_room(&dir->bytes, (size_t)size))
        FB_GO(FB_E_MEMORY);
    dir->size = (size_t)size;
    FB_GO(fb_data_bytes_read(zip, from, dir->bytes.p, dir->size, name));
fail:
    fb_data_buffer_free(&tail);
    return status;
}

/* The entry at *at, which moves behind it; false at the end of the directory or of sense. */
static bool next_entry(const directory *dir, size_t *at, entry *e)
{
    const uint8_t *p = (const uint8_t *)dir->bytes.p + *at;
    size_t left = dir->size - *at;
    if (left < ENTRY_BYTES || memcmp(p, "PK\1\2", 4) != 0)
        return false;
    size_t name_n = fb_data_u16le(p + 28);
    size_t all = ENTRY_BYTES + name_n + fb_data_u16le(p + 30) + fb_data_u16le(p + 32);
    if (all > left)
        return false;
    *e = (entry){.name = p + ENTRY_BYTES,
                 .name_n = name_n,
                 .flags = fb_data_u16le(p + 8),
                 .method = fb_data_u16le(p + 10),
                 .crc = fb_data_u32le(p + 16),
                 .packed = fb_data_u32le(p + 20),
                 .plain = fb_data_u32le(p + 24),
                 .local_at = fb_data_u32le(p + 42)};
    *at += all;
    return true;
}

static bool is_member(const entry *e, const char *member)
{
    size_t n = strlen(member);
    return e->name_n == n + 4 && memcmp(e->name, member, n) == 0 &&
           memcmp(e->name + n, ".npy", 4) == 0;
}

static fb_status no_member(const directory *dir, const char *name, const char *member)
{
    char list[160] = "";
    size_t n = 0, at = 0;
    entry e;
    while (next_entry(dir, &at, &e) && e.name_n < 64 && n + e.name_n + 3 < sizeof list) {
        int put = snprintf(list + n, sizeof list - n, "%s%.*s", n ? ", " : "", (int)e.name_n,
                           (const char *)e.name);
        n += put > 0 ? (size_t)put : 0;
    }
    return fb_fail(FB_E_FORMAT, "'%s' has no member '%s' (it has %s)", name, member,
                   n ? list : "none");
}

static fb_status member_range(const fb_data_bytes *zip, const char *name, const entry *e,
                              uint64_t *from)
{
    uint8_t local[LOCAL_BYTES];
    if (e->packed == UINT32_MAX || e->plain == UINT32_MAX || e->local_at == UINT32_MAX)
        return fb_fail(FB_E_UNSUPPORTED, "'%s' has a member above 4 GiB (zip64), which is not read",
                       name);
    if (e->flags & 1)
        return fb_fail(FB_E_UNSUPPORTED, "'%s' is encrypted, which is not read", name);
    FB_TRY(fb_data_bytes_read(zip, e->local_at, local, LOCAL_BYTES, name));
    if (memcmp(local, "PK\3\4", 4) != 0)
        return damaged(name, "a member is not where the directory says");
    *from = e->local_at + LOCAL_BYTES + fb_data_u16le(local + 26) + fb_data_u16le(local + 28);
    if (*from > zip->size || e->packed > zip->size - *from)
        return damaged(name, "a member is cut short");
    return FB_OK;
}

static fb_status unpack_member(fb_data_bytes *zip, const char *name, const entry *e,
                               fb_data_bytes *out)
{
    fb_data_bytes packed = *zip; /* a view: zip keeps what is owned */
    uint64_t from = 0;
    FB_TRY(member_range(zip, name, e, &from));
    if (e->method == STORED) {
        fb_data_bytes_narrow(zip, from, e->packed);
        *out = *zip;
        *zip = FB_DATA_BYTES_NONE;
        return FB_OK;
    }
    if (e->method != DEFLATED)
        return fb_fail(FB_E_UNSUPPORTED, "'%s' is packed with zip method %u, and 0 and 8 are read",
                       name, e->method);
    fb_data_bytes_narrow(&packed, from, e->packed);
    FB_TRY(fb_data_unpack(&packed, FB_DATA_RAW_DEFLATE, name, out));
    if (out->size != e->plain || crc32_z(0, out->mem, (size_t)out->size) != e->crc) {
        fb_data_bytes_close(out);
        return damaged(name, "the checksum of a member is wrong");
    }
    return FB_OK;
}

fb_status fb_data_parse_npz_member(fb_data_bytes *bytes, const char *name, const char *member,
                                   bool optional, bool *found, fb_data_bytes *out)
{
    directory dir = {{NULL, 0}, 0};
    *out = FB_DATA_BYTES_NONE;
    *found = false;
    fb_status status = FB_OK;
    FB_GO(read_directory(bytes, name, &dir));
    size_t at = 0;
    entry e;
    while (!*found && next_entry(&dir, &at, &e))
        *found = is_member(&e, member);
    if (*found)
        FB_GO(unpack_member(bytes, name, &e, out));
    else if (!optional)
        FB_GO(no_member(&dir, name, member));
fail:
    fb_data_buffer_free(&dir.bytes);
    fb_data_bytes_close(bytes);
    return status;
}

/* "a.npz (x)", so that sentences say which member they mean. */
static char *member_name(fb_data_buffer *buffer, const char *path, const char *member)
{
    size_t n = strlen(path) + strlen(member) + 4;
    char *name = fb_data_room(buffer, n);
    if (name)
        (void)snprintf(name, n, "%s (%s)", path, member);
    return name;
}

static fb_status read_member(const char *path, const char *member, bool labels, fb_data_set *set)
{
    fb_data_bytes zip, npy;
    fb_data_buffer buffer = {NULL, 0};
    bool found = false;
    char *name = member_name(&buffer, path, member);
    if (!name)
        return FB_E_MEMORY;
    fb_status status = fb_data_bytes_open(path, &zip);
    if (status == FB_OK)
        status = fb_data_parse_npz_member(&zip, path, member, labels, &found, &npy);
    if (status == FB_OK && found)
        status =
            labels ? fb_data_parse_labels(&npy, name, set) : fb_data_parse_npy(&npy, name, set);
    fb_data_buffer_free(&buffer);
    return status;
}

fb_status fb_data_read_npz(const char *path, fb_data_set *set)
{
    FB_TRY(read_member(path, "x", false, set));
    return read_member(path, "y", true, set);
}
