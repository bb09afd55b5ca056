/* Reading a .fewbit file, which may be anything: every offset, size and count is checked before
 * use, and the finished model passes fb_model_validate. */
#include "base/file.h"
#include "base/hash.h"
#include "format/code.h"
#include "format/entropy.h"
#include "format/format.h"
#include "format/rans.h"

#include <string.h>

typedef struct entry {
    uint32_t id, flags;
    uint64_t offset, bytes, hash;
    char name[5]; /* the id, for sentences */
} entry;

typedef struct table {
    const uint8_t *data;
    size_t bytes;
    uint32_t n;
    entry entries[FB_FORMAT_SECTIONS];
} table;

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load64(const uint8_t *p)
{
    return load32(p) | (uint64_t)load32(p + 4) << 32;
}

/* ---- what it is when it is not a .fewbit file -------------------------------------------------
 */

/* An ONNX file is a protobuf message that starts with field 1, ir_version, a small number, and goes
 * on with one of its fields of type bytes (wire type 2). */
static bool looks_like_onnx(const uint8_t *p, size_t n)
{
    return n >= 4 && p[0] == 0x08 && p[1] > 0 && p[1] < 64 && (p[2] & 7) == 2 && p[2] < 128;
}

static fb_status refuse_magic(const uint8_t *p, size_t n)
{
    static const char magic[] = FB_FORMAT_MAGIC;
    if (looks_like_onnx(p, n))
        return fb_fail(FB_E_FORMAT, "is an ONNX file; import it with fewbit compress");
    if (n < 8 && memcmp(p, magic, n) == 0)
        return fb_fail(FB_E_FORMAT, "has %zu bytes, a .fewbit file has at least %d: it was cut off",
                       n, (int)FB_FORMAT_HEADER);
    if (n >= 4 && memcmp(p, magic, 4) == 0)
        return fb_fail(FB_E_FORMAT, "is a .fewbit file that was damaged on its way, perhaps by a "
                                    "transfer in text mode");
    if (n >= 4 && memcmp(p + 1, magic + 1, 3) == 0)
        return fb_fail(FB_E_FORMAT,
                       "is a .fewbit file whose first byte is 0x%02x, must be 0x89: it was "
                       "damaged on its way",
                       p[0]);
    return fb_fail(FB_E_FORMAT, "is not a .fewbit file: the first bytes are not its mark");
}

/* ---- header and table ------------------------------------------------------------------------ */

static fb_status read_header(const uint8_t *p, size_t bytes, unsigned flags, table *t)
{
    if (bytes == 0)
        return fb_fail(FB_E_FORMAT, "is empty");
    if (bytes < 8 || memcmp(p, FB_FORMAT_MAGIC, 8) != 0)
        return refuse_magic(p, bytes);
    if (bytes < FB_FORMAT_HEADER)
        return fb_fail(FB_E_FORMAT, "has %zu bytes, a .fewbit file has at least %d: it was cut off",
                       bytes, (int)FB_FORMAT_HEADER);
    unsigned major = load32(p + 8) & 0xffffu, minor = load32(p + 8) >> 16;
    if (major != FB_FORMAT_MAJOR)
        return fb_fail(FB_E_FORMAT, "has format version %u.%u, this fewbit reads %d.x", major,
                       minor, (int)FB_FORMAT_MAJOR);
    uint64_t said = load64(p + 16);
    if (said != bytes)
        return fb_fail(FB_E_FORMAT, "has %zu bytes, its header says %llu: it %s", bytes,
                       (unsigned long long)said,
                       said > bytes ? "was cut off" : "has something appended or is damaged");
    t->n = load32(p + 12);
    if (t->n > FB_FORMAT_SECTIONS || FB_FORMAT_HEADER + t->n * FB_FORMAT_ENTRY > bytes)
        return fb_fail(FB_E_FORMAT, "header: %u sections in %zu bytes, at most %d are possible",
                       t->n, bytes, (int)FB_FORMAT_SECTIONS);
    fb_hash h;
    fb_hash_init(&h);
    fb_hash_add(&h, p, FB_FORMAT_HEADER - 8);
    fb_hash_add(&h, p + FB_FORMAT_HEADER, t->n * (size_t)FB_FORMAT_ENTRY);
    if (fb_hash_end(&h) != load64(p + 24) && !(flags & FB_FORMAT_NO_CHECKSUM))
        return fb_fail(FB_E_FORMAT, "header: checksum does not match: the file is damaged");
    t->data = p;
    t->bytes = bytes;
    return FB_OK;
}

static fb_status read_entry(const uint8_t *p, entry *e)
{
    e->id = load32(p);
    e->flags = load32(p + 4);
    e->bytes = load64(p + 8);
    e->hash = load64(p + 16);
    for (int i = 0; i < 4; i++)
        e->name[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '?';
    e->name[4] = '\0';
    for (int i = 0; i < FB_SECTION_COUNT; i++) {
        const fb_section_def *def = fb_section_get((fb_section)i);
        uint32_t want = def->required | (uint32_t)def->align_log2 << 8;
        if (def->id != e->id)
            continue;
        if (def->may_be_coded)
            want |= e->flags & FB_SECTION_CODED;
        if (e->flags != want)
            return fb_fail(FB_E_FORMAT, "section %s has flags 0x%x, this fewbit knows only 0x%x",
                           e->name, e->flags, want);
        return FB_OK;
    }
    if (e->flags & FB_SECTION_REQUIRED)
        return fb_fail(FB_E_FORMAT,
                       "needs section %s, which this fewbit does not know: a newer "
                       "fewbit reads it",
                       e->name);
    if ((e->flags >> 8 & 255u) > 12)
        return fb_fail(FB_E_FORMAT, "section %s is aligned to 2^%u, at most 2^12 is possible",
                       e->name, e->flags >> 8 & 255u);
    return FB_OK;
}

/* Sections follow each other, each at the next multiple of its alignment, with zeros before it: no
 * overlap and no hidden bytes are possible. */
static fb_status place_entry(table *t, entry *e, uint64_t *at)
{
    uint64_t align = (uint64_t)1 << (e->flags >> 8 & 255u);
    uint64_t start = (*at + align - 1) & ~(align - 1);
    if (start > t->bytes || e->bytes > t->bytes - start)
        return fb_fail(FB_E_FORMAT, "section %s has %llu bytes from %llu on, the file has %zu",
                       e->name, (unsigned long long)e->bytes, (unsigned long long)start, t->bytes);
    for (uint64_t i = *at; i < start; i++) {
        if (t->data[i] != 0)
            return fb_fail(FB_E_FORMAT, "byte %llu before section %s is not 0",
                           (unsigned long long)i, e->name);
    }
    e->offset = start;
    *at = start + e->bytes;
    return FB_OK;
}

static fb_status read_table(const uint8_t *p, size_t bytes, unsigned flags, table *t)
{
    FB_TRY(read_header(p, bytes, flags, t));
    uint64_t at = FB_FORMAT_HEADER + t->n * (uint64_t)FB_FORMAT_ENTRY;
    for (uint32_t i = 0; i < t->n; i++) {
        entry *e = &t->entries[i];
        FB_TRY(read_entry(p + FB_FORMAT_HEADER + i * (size_t)FB_FORMAT_ENTRY, e));
        for (uint32_t k = 0; k < i; k++) {
            if (t->entries[k].id == e->id)
                return fb_fail(FB_E_FORMAT, "section %s comes twice", e->name);
        }
        FB_TRY(place_entry(t, e, &at));
        if (!(flags & FB_FORMAT_NO_CHECKSUM) && fb_hash64(p + e->offset, e->bytes) != e->hash)
            return fb_fail(FB_E_FORMAT, "section %s: checksum does not match: the file is damaged",
                           e->name);
    }
    if (at != bytes)
        return fb_fail(FB_E_FORMAT, "has %llu bytes behind its last section",
                       (unsigned long long)(bytes - at));
    return FB_OK;
}

/* NULL when the file does not have it. */
static const entry *find(const table *t, fb_section section)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->entries[i].id == fb_section_get(section)->id)
            return &t->entries[i];
    }
    return NULL;
}

/* The raw bytes of a section as it lies in the file; of a coded one, their number and the code. */
static fb_status raw_size(const table *t, fb_section section, uint64_t *raw, fb_in *code)
{
    const entry *e = find(t, section);
    *code = fb_in_of(fb_section_get(section)->name, e ? t->data + e->offset : NULL,
                     e ? (size_t)e->bytes : 0, NULL);
    *raw = fb_in_left(code);
    if (e && (e->flags & FB_SECTION_CODED)) {
        *raw = fb_in_varint(code);
        if (*raw > fb_code_most(fb_in_left(code)))
            fb_in_broken(code, "%zu coded bytes stand for %llu, at most %llu are possible",
                         fb_in_left(code), (unsigned long long)*raw,
                         (unsigned long long)fb_code_most(fb_in_left(code)));
    }
    return code->status;
}

static bool is_coded(const table *t, fb_section section)
{
    const entry *e = find(t, section);
    return e && (e->flags & FB_SECTION_CODED);
}

static fb_status start_decoding(fb_in *code, uint64_t raw, fb_coder **coder)
{
    *coder = fb_coder_create(raw);
    if (!*coder)
        return fb_fail(FB_E_MEMORY, "no memory to decode section %s", code->section);
    fb_coder_start(*coder, code->at, fb_in_left(code));
    return FB_OK;
}

/* Frees the coder. */
static fb_status end_decoding(fb_in *code, fb_coder *coder)
{
    bool done = fb_coder_done(coder);
    fb_free(coder);
    return done ? FB_OK : fb_in_broken(code, "the code does not end with its last byte");
}

/* A section to read from, decoded into the arena if it is coded. */
static fb_status open_section(const table *t, fb_section section, fb_arena *arena, fb_in *in)
{
    uint64_t raw;
    FB_TRY(raw_size(t, section, &raw, in));
    if (is_coded(t, section)) {
        fb_coder *coder;
        uint8_t *bytes = fb_arena_alloc(arena, (size_t)raw);
        if (!bytes)
            return fb_fail(FB_E_MEMORY, "no memory for %llu bytes of section %s",
                           (unsigned long long)raw, in->section);
        FB_TRY(start_decoding(in, raw, &coder));
        fb_coder_decode(coder, bytes, (size_t)raw, 1);
        FB_TRY(end_decoding(in, coder));
        *in = fb_in_of(in->section, bytes, (size_t)raw, arena);
    }
    in->arena = arena;
    return FB_OK;
}

/* ---- payloads -------------------------------------------------------------------------------- */

static fb_status take_large(const table *t, fb_model *m, const uint8_t *coded, bool *in_place)
{
    const entry *e = find(t, FB_SECTION_DATA);
    uint64_t have = e ? e->bytes : 0, want, small;
    uint64_t *offset = fb_calloc(m->n_tensors + 1, sizeof *offset);
    if (!offset)
        return fb_fail(FB_E_MEMORY, "no memory for the places of %zu tensors", m->n_tensors);
    fb_status status;
    FB_GO(fb_format_layout(m, coded, offset, &want, &small));
    if (have != want) {
        status = fb_fail(FB_E_FORMAT, "section DATA has %llu bytes, the large constants need %llu",
                         (unsigned long long)have, (unsigned long long)want);
        goto fail;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_tensor *u = &m->tensors[i];
        if (!u->is_const || fb_format_storage(u, coded[i]) != FB_STORED_DATA)
            continue;
        u->data = t->data + e->offset + offset[i]; /* want > 0, so DATA is there */
        *in_place = true;
    }
fail:
    fb_free(offset);
    return status;
}

static fb_status take_small(const table *t, fb_model *m, const uint8_t *coded)
{
    fb_in in;
    fb_coder *coder = NULL;
    uint64_t have, data, want;
    FB_TRY(raw_size(t, FB_SECTION_SMAL, &have, &in));
    FB_TRY(fb_format_layout(m, coded, NULL, &data, &want));
    if (have != want)
        return fb_fail(FB_E_FORMAT, "section SMAL has %llu bytes, the small constants need %llu",
                       (unsigned long long)have, (unsigned long long)want);
    if (is_coded(t, FB_SECTION_SMAL))
        FB_TRY(start_decoding(&in, have, &coder));
    for (size_t i = 0; i < m->n_tensors; i++) {
        fb_tensor *u = &m->tensors[i];
        if (!u->is_const || fb_format_storage(u, coded[i]) != FB_STORED_SMAL)
            continue;
        void *copy = fb_arena_alloc(m->arena, u->data_bytes);
        if (!copy) {
            fb_free(coder);
            return fb_fail(FB_E_MEMORY, "no memory for the payload of '%.200s'", u->name);
        }
        if (coder)
            fb_coder_decode(coder, copy, u->data_bytes, fb_format_period(u));
        else
            memcpy(copy, fb_in_bytes(&in, u->data_bytes), u->data_bytes);
        u->data = copy;
    }
    return coder ? end_decoding(&in, coder) : FB_OK;
}

static fb_status take_coded(const table *t, fb_model *m, const uint8_t *coded)
{
    fb_in in;
    m->entropy = find(t, FB_SECTION_CODE) != NULL;
    FB_TRY(open_section(t, FB_SECTION_CODE, m->arena, &in));
    if (m->entropy)
        return fb_entropy_decode(&in, m, coded);
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (coded[i])
            return fb_fail(FB_E_FORMAT, "has no section CODE, which tensor '%.200s' is in",
                           m->tensors[i].name);
    }
    return FB_OK;
}

/* No constants can have more bytes than this, so a lie about dims costs little memory. */
static fb_status payload_room(const table *t, uint64_t *bytes)
{
    static const fb_section plain[] = {FB_SECTION_FIXD, FB_SECTION_SMAL, FB_SECTION_DATA};
    const entry *code = find(t, FB_SECTION_CODE);
    *bytes = code ? code->bytes * FB_RANS_EXPAND : 0;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        fb_in in;
        uint64_t raw;
        FB_TRY(raw_size(t, plain[i], &raw, &in));
        *bytes += raw;
    }
    return FB_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

static fb_status read_sections(const table *t, fb_model *m, bool *in_place)
{
    static const struct {
        fb_section section;
        fb_status (*get)(fb_in *, fb_model *);
    } extras[] = {{FB_SECTION_PREP, fb_get_prep},
                  {FB_SECTION_LABL, fb_get_labels},
                  {FB_SECTION_NOTE, fb_get_notes}};
    uint64_t payloads;
    uint8_t *coded;
    fb_in in;
    if (!find(t, FB_SECTION_GRPH))
        return fb_fail(FB_E_FORMAT, "has no section GRPH");
    FB_TRY(open_section(t, FB_SECTION_GRPH, m->arena, &in));
    FB_TRY(fb_get_graph(&in, m, &coded));
    FB_TRY(open_section(t, FB_SECTION_STRS, m->arena, &in));
    FB_TRY(fb_get_names(&in, m));
    FB_TRY(payload_room(t, &payloads));
    FB_TRY(open_section(t, FB_SECTION_ENCP, m->arena, &in));
    FB_TRY(fb_get_encodings(&in, m, payloads));
    FB_TRY(open_section(t, FB_SECTION_FIXD, m->arena, &in));
    FB_TRY(fb_get_fixed(&in, m, coded));
    FB_TRY(take_coded(t, m, coded));
    FB_TRY(take_large(t, m, coded, in_place));
    FB_TRY(take_small(t, m, coded));
    for (size_t i = 0; i < sizeof extras / sizeof extras[0]; i++) {
        if (!find(t, extras[i].section))
            continue;
        FB_TRY(open_section(t, extras[i].section, m->arena, &in));
        FB_TRY(extras[i].get(&in, m));
    }
    return fb_model_validate(m);
}

fb_status fb_format_read(const void *data, size_t bytes, unsigned flags, fb_model **out,
                         bool *in_place)
{
    table t;
    fb_model *m = NULL;
    *out = NULL;
    *in_place = false;
    memset(&t, 0, sizeof t);
    if ((uintptr_t)data % FB_ALIGN != 0)
        return fb_fail(FB_E_ARG, "a file in memory at %p, must be aligned to %u bytes", data,
                       FB_ALIGN);
    FB_TRY(read_table(data, bytes, flags, &t));
    FB_TRY(fb_model_create(&m));
    fb_status status = read_sections(&t, m, in_place);
    if (status != FB_OK) {
        /* A name that STRS did not deliver must not be met by anyone. */
        fb_model_close(&m);
        return status;
    }
    *out = m;
    return FB_OK;
}

fb_status fb_model_open_memory(const void *data, size_t bytes, fb_model **out)
{
    bool in_place;
    return fb_format_read(data, bytes, 0, out, &in_place);
}

fb_status fb_model_open(const char *path, fb_model **out)
{
    void *map;
    size_t bytes;
    bool in_place;
    *out = NULL;
    FB_TRY(fb_file_map(path, &map, &bytes));
    fb_status status = fb_format_read(map, bytes, 0, out, &in_place);
    if (status != FB_OK) {
        fb_file_unmap(map, bytes);
        return fb_fail_in(status, "%s", path);
    }
    if (!in_place) { /* a small network was copied whole: the file is free */
        fb_file_unmap(map, bytes);
        return FB_OK;
    }
    (*out)->map = map;
    (*out)->map_bytes = bytes;
    (*out)->unmap = fb_file_unmap;
    return FB_OK;
}
