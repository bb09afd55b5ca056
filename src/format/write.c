/* Writing a .fewbit file. One routine emits it, to a stream, to memory or to a counter, so that the
 * predicted size cannot differ from the written one. */
#include "base/file.h"
#include "base/hash.h"
#include "format/code.h"
#include "format/entropy.h"
#include "format/format.h"

#include <string.h>

static const fb_section_def sections[FB_SECTION_COUNT] = {
    [FB_SECTION_GRPH] = {"GRPH", FB_SECTION_ID('G', 'R', 'P', 'H'), FB_SECTION_REQUIRED, 0, true},
    [FB_SECTION_STRS] = {"STRS", FB_SECTION_ID('S', 'T', 'R', 'S'), FB_SECTION_REQUIRED, 0, true},
    [FB_SECTION_ENCP] = {"ENCP", FB_SECTION_ID('E', 'N', 'C', 'P'), FB_SECTION_REQUIRED, 0, true},
    [FB_SECTION_PREP] = {"PREP", FB_SECTION_ID('P', 'R', 'E', 'P'), 0, 0, true},
    [FB_SECTION_LABL] = {"LABL", FB_SECTION_ID('L', 'A', 'B', 'L'), 0, 0, true},
    /* notes tell of calibration data */
    [FB_SECTION_NOTE] = {"NOTE", FB_SECTION_ID('N', 'O', 'T', 'E'), 0, 0, false},
    [FB_SECTION_FIXD] = {"FIXD", FB_SECTION_ID('F', 'I', 'X', 'D'), FB_SECTION_REQUIRED, 0, false},
    [FB_SECTION_SMAL] = {"SMAL", FB_SECTION_ID('S', 'M', 'A', 'L'), FB_SECTION_REQUIRED, 0, true},
    [FB_SECTION_CODE] = {"CODE", FB_SECTION_ID('C', 'O', 'D', 'E'), FB_SECTION_REQUIRED, 0, false},
    [FB_SECTION_DATA] = {"DATA", FB_SECTION_ID('D', 'A', 'T', 'A'), FB_SECTION_REQUIRED,
                         FB_FORMAT_DATA_LOG2, false},
};

const fb_section_def *fb_section_get(fb_section section)
{
    return &sections[section];
}

/* ---- where bytes go ------------------------------------------------------------------------- */

/* Counts always; writes where a target is set; hashes between start and end of a section. */
typedef struct sink {
    uint64_t n;
    FILE *stream;
    fb_out *memory;
    fb_hash *hash;
    bool failed; /* the stream refused: its owner finds out why */
} sink;

static void emit(sink *s, const void *data, size_t bytes)
{
    s->n += bytes;
    if (s->hash)
        fb_hash_add(s->hash, data, bytes);
    if (s->memory)
        fb_out_bytes(s->memory, data, bytes);
    if (s->stream && !s->failed && bytes > 0)
        s->failed = fwrite(data, 1, bytes, s->stream) != bytes;
}

static void emit_zeros(sink *s, uint64_t n)
{
    static const uint8_t zeros[1 << FB_FORMAT_DATA_LOG2];
    emit(s, zeros, (size_t)n); /* less than one alignment */
}

/* ---- payloads ------------------------------------------------------------------------------- */

static bool is_stored(const fb_model *m, const uint8_t *coded, size_t i, fb_storage where)
{
    const fb_tensor *t = &m->tensors[i];
    return t->is_const && fb_format_storage(t, coded[i]) == where;
}

fb_status fb_format_layout(const fb_model *m, const uint8_t *coded, uint64_t *offset,
                           uint64_t *data_bytes, uint64_t *small_bytes)
{
    const uint64_t align = 1u << FB_FORMAT_DATA_LOG2, most = (uint64_t)1 << 62;
    uint64_t at = 0, small = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        size_t n = m->tensors[i].data_bytes;
        bool large = is_stored(m, coded, i, FB_STORED_DATA);
        at = large ? (at + align - 1) & ~(align - 1) : at;
        if (offset)
            offset[i] = at;
        if (n > most - at || n > most - small)
            return fb_fail(FB_E_LIMIT, "the constants have more than 2^62 bytes");
        at += large ? n : 0;
        small += is_stored(m, coded, i, FB_STORED_SMAL) ? n : 0;
    }
    *data_bytes = at;
    *small_bytes = small;
    return FB_OK;
}

unsigned fb_format_period(const fb_tensor *t)
{
    if (t->enc.sparse)
        return 1;
    if (t->enc.kind == FB_ENC_PLAIN)
        return (unsigned)fb_dtype_bytes(t->dtype);
    return t->enc.bits == 16 ? 2 : 1;
}

/* The same order as fb_format_layout. */
static void emit_large(sink *s, const fb_model *m, const uint8_t *coded)
{
    const uint64_t align = 1u << FB_FORMAT_DATA_LOG2;
    uint64_t start = s->n;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (!is_stored(m, coded, i, FB_STORED_DATA))
            continue;
        emit_zeros(s, (align - (s->n - start) % align) % align);
        emit(s, m->tensors[i].data, m->tensors[i].data_bytes);
    }
}

static void put_small(fb_out *out, const fb_model *m, const uint8_t *coded)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (is_stored(m, coded, i, FB_STORED_SMAL))
            fb_out_bytes(out, m->tensors[i].data, m->tensors[i].data_bytes);
    }
}

/* A file about to be written: the small sections in memory, the table, the payloads in the model.
 */
typedef struct build {
    const fb_model *m;
    fb_out part[FB_SECTION_COUNT]; /* DATA's stays empty */
    uint64_t bytes[FB_SECTION_COUNT], hash[FB_SECTION_COUNT];
    bool coded[FB_SECTION_COUNT];
    fb_entropy entropy; /* its section is moved to part[FB_SECTION_CODE] */
    uint64_t file_bytes;
} build;

/* ---- coding --------------------------------------------------------------------------------- */

static void encode_part(fb_coder *c, fb_out *out, fb_section section, const fb_out *raw,
                        const fb_model *m, const uint8_t *coded)
{
    if (section != FB_SECTION_SMAL) {
        fb_coder_encode(c, out, raw->data, raw->n, 1);
        return;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fb_tensor *t = &m->tensors[i];
        if (is_stored(m, coded, i, FB_STORED_SMAL))
            fb_coder_encode(c, out, t->data, t->data_bytes, fb_format_period(t));
    }
}

/* Replaces a section by its coded form where that is smaller. */
static fb_status code_part(fb_section section, const build *b, fb_out *part, bool *coded)
{
    fb_out out = {0};
    if (part->n > fb_code_most(part->n)) /* coded would be smaller yet */
        return FB_OK;
    fb_coder *c = fb_coder_create(part->n);
    if (!c)
        return fb_fail(FB_E_MEMORY, "no memory to code section %s", sections[section].name);
    fb_out_varint(&out, part->n);
    size_t head = out.n;
    encode_part(c, &out, section, part, b->m, b->entropy.coded);
    fb_coder_flush(c, &out);
    fb_free(c);
    if (out.no_memory) {
        fb_out_free(&out);
        return fb_fail(FB_E_MEMORY, "no memory to code section %s", sections[section].name);
    }
    *coded = out.n < part->n && part->n <= fb_code_most(out.n - head);
    if (*coded) {
        fb_out_free(part);
        *part = out;
    } else {
        fb_out_free(&out);
    }
    return FB_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static void build_free(build *b)
{
    for (int i = 0; i < FB_SECTION_COUNT; i++)
        fb_out_free(&b->part[i]);
    fb_entropy_free(&b->entropy);
}

static void emit_header(sink *s, const build *b)
{
    fb_out head = {0};
    uint32_t n = 0;
    for (int i = 0; i < FB_SECTION_COUNT; i++)
        n += b->bytes[i] > 0;
    fb_out_bytes(&head, FB_FORMAT_MAGIC, 8);
    fb_out_u32(&head, FB_FORMAT_MAJOR | (uint32_t)FB_FORMAT_MINOR << 16);
    fb_out_u32(&head, n);
    fb_out_u64(&head, b->file_bytes);
    fb_out_u64(&head, 0); /* the checksum comes here */
    for (int i = 0; i < FB_SECTION_COUNT; i++) {
        if (b->bytes[i] == 0)
            continue;
        fb_out_u32(&head, sections[i].id);
        fb_out_u32(&head, sections[i].required | (b->coded[i] ? FB_SECTION_CODED : 0u) |
                              (uint32_t)sections[i].align_log2 << 8);
        fb_out_u64(&head, b->bytes[i]);
        fb_out_u64(&head, b->hash[i]);
    }
    if (head.no_memory) {
        s->failed = true;
    } else {
        /* Over everything but itself. */
        fb_hash h;
        fb_hash_init(&h);
        fb_hash_add(&h, head.data, FB_FORMAT_HEADER - 8);
        fb_hash_add(&h, head.data + FB_FORMAT_HEADER, head.n - FB_FORMAT_HEADER);
        uint64_t hash = fb_hash_end(&h);
        memcpy(head.data + FB_FORMAT_HEADER - 8, &hash, sizeof hash);
        emit(s, head.data, head.n);
    }
    fb_out_free(&head);
}

static void emit_file(sink *s, const build *b)
{
    emit_header(s, b);
    for (int i = 0; i < FB_SECTION_COUNT; i++) {
        uint64_t align = (uint64_t)1 << sections[i].align_log2;
        if (b->bytes[i] == 0)
            continue;
        emit_zeros(s, (align - s->n % align) % align);
        if (i == FB_SECTION_DATA)
            emit_large(s, b->m, b->entropy.coded);
        else
            emit(s, b->part[i].data, b->part[i].n);
    }
}

static void put_part(build *b, fb_section i)
{
    static void (*const put[])(fb_out *, const fb_model *) = {
        [FB_SECTION_STRS] = fb_put_names, [FB_SECTION_ENCP] = fb_put_encodings,
        [FB_SECTION_PREP] = fb_put_prep,  [FB_SECTION_LABL] = fb_put_labels,
        [FB_SECTION_NOTE] = fb_put_notes, [FB_SECTION_DATA] = NULL};
    fb_out *part = &b->part[i];
    if (i == FB_SECTION_GRPH)
        fb_put_graph(part, b->m, b->entropy.coded);
    else if (i == FB_SECTION_FIXD)
        fb_put_fixed(part, b->m, b->entropy.coded);
    else if (i == FB_SECTION_SMAL)
        put_small(part, b->m, b->entropy.coded);
    else if (put[i])
        put[i](part, b->m);
}

static fb_status build_part(build *b, fb_section i, unsigned flags)
{
    fb_out *part = &b->part[i];
    if (i == FB_SECTION_CODE) {
        *part = b->entropy.section;
        b->entropy.section = (fb_out){0};
    }
    put_part(b, i);
    if (part->no_memory)
        return fb_fail(FB_E_MEMORY, "no memory for section %s", sections[i].name);
    if (part->n > 0 && sections[i].may_be_coded && !(flags & FB_FORMAT_NO_CODING))
        FB_TRY(code_part(i, b, part, &b->coded[i]));
    b->bytes[i] = part->n;
    b->hash[i] = fb_hash64(part->data, part->n);
    return FB_OK;
}

/* Sections, sizes and checksums; that of DATA is left out when only the size is wanted. */
static fb_status build_file(const fb_model *m, unsigned flags, bool only_size, build *b)
{
    *b = (build){.m = m};
    fb_status status;
    uint64_t small;
    FB_GO(fb_model_validate(m));
    FB_GO(fb_entropy_encode(m, &b->entropy));
    for (int i = 0; i < FB_SECTION_DATA; i++)
        FB_GO(build_part(b, (fb_section)i, flags));
    FB_GO(fb_format_layout(m, b->entropy.coded, NULL, &b->bytes[FB_SECTION_DATA], &small));
    if (!only_size) {
        fb_hash h;
        sink hasher = {.hash = &h};
        fb_hash_init(&h);
        emit_large(&hasher, m, b->entropy.coded);
        b->hash[FB_SECTION_DATA] = fb_hash_end(&h);
    }
    sink counter = {0};
    emit_file(&counter, b);
    if (counter.failed) {
        status = fb_fail(FB_E_MEMORY, "no memory for the section table");
        goto fail;
    }
    b->file_bytes = counter.n;
    return FB_OK;
fail:
    build_free(b);
    return status;
}

fb_status fb_model_file_bytes(const fb_model *model, uint64_t *bytes)
{
    build b;
    FB_TRY(build_file(model, 0, true, &b));
    *bytes = b.file_bytes;
    build_free(&b);
    return FB_OK;
}

fb_status fb_format_write(const fb_model *m, unsigned flags, fb_out *out)
{
    build b;
    *out = (fb_out){0};
    FB_TRY(build_file(m, flags, false, &b));
    sink s = {.memory = out};
    emit_file(&s, &b);
    build_free(&b);
    if (s.failed || out->no_memory) {
        fb_out_free(out);
        return fb_fail(FB_E_MEMORY, "no memory for a file of %llu bytes", (unsigned long long)s.n);
    }
    return FB_OK;
}

fb_status fb_model_save(const fb_model *model, const char *path)
{
    build b;
    fb_file file;
    fb_status status = build_file(model, 0, false, &b);
    if (status != FB_OK)
        return fb_fail_in(status, "%s: cannot be written", path);
    status = fb_file_create(path, &file);
    if (status == FB_OK) {
        sink s = {.stream = file.stream};
        emit_file(&s, &b);
        if (s.failed && !ferror(file.stream)) { /* not the stream: emit_header */
            fb_file_abort(&file);
            status = fb_fail(FB_E_MEMORY, "%s: no memory to write it", path);
        } else {
            status = fb_file_commit(&file); /* says so when the stream failed */
        }
    }
    build_free(&b);
    return status;
}
