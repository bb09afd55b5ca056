/* The public calls, and the order of the passes. */
#include "import/import.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

/* protobuf-c allocates with our allocator, so that payloads can be taken over. */
static void *proto_alloc(void *data, size_t bytes)
{
    (void)data;
    return fb_alloc(bytes);
}

static void proto_free(void *data, void *p)
{
    (void)data;
    fb_free(p);
}

static ProtobufCAllocator allocator = {proto_alloc, proto_free, NULL};

static fb_status unpack(const void *data, size_t bytes, Onnx__ModelProto **out)
{
    *out = NULL;
    FB_TRY(fb_imp_wire_check(data, bytes));
    *out = onnx__model_proto__unpack(&allocator, bytes, data);
    if (!*out)
        return fb_fail(FB_E_FORMAT, "not an ONNX model: the protobuf data is damaged");
    if (!(*out)->graph)
        return fb_fail(FB_E_FORMAT, "not an ONNX model: it holds no graph");
    return FB_OK;
}

/* Graph read; from here on the message is not needed. */
static fb_status passes(fb_imp *im, fb_model **out)
{
    FB_TRY(fb_imp_layout(im));
    if (!im->opt->keep_names) {
        FB_TRY(fb_imp_fuse(im));
        FB_TRY(fb_imp_fuse_quant(im));
    }
    return fb_imp_lower(im, out);
}

static fb_status note_source(fb_model *m, const char *producer, const char *version)
{
    char text[256];
    if (!producer[0])
        return FB_OK;
    snprintf(text, sizeof text, "%.120s%s%.60s", producer, version[0] ? " " : "", version);
    return fb_model_set_note(m, "source.producer", text);
}

static fb_status import(Onnx__ModelProto **proto, const char *folder,
                        const fb_onnx_options *options, fb_model **out)
{
    static const fb_onnx_options none = {0};
    fb_imp *im = fb_imp_create();
    if (!im)
        return fb_imp_no_memory();
    im->opt = options ? options : &none;
    im->proto = *proto;
    im->folder = folder;
    const char *producer = (*proto)->producer_name ? (*proto)->producer_name : "";
    const char *version = (*proto)->producer_version ? (*proto)->producer_version : "";
    producer = fb_arena_string(im->arena, producer);
    version = fb_arena_string(im->arena, version);
    fb_status status = producer && version ? fb_imp_walk(im) : fb_imp_no_memory();
    fb_file_unmap(im->ext_map, im->ext_bytes);
    if (status == FB_OK)
        status = passes(im, out);
    if (status == FB_OK)
        status = note_source(*out, producer, version);
    if (status != FB_OK)
        fb_model_close(out);
    fb_imp_destroy(im);
    return status;
}

static fb_status check_options(const fb_onnx_options *o)
{
    if (o && (o->batch < 0 || o->batch > 65536))
        return fb_fail(FB_E_ARG, "batch=%lld must be within 0..65536", (long long)o->batch);
    for (uint32_t i = 0; o && i < o->n_bindings; i++) {
        if (!o->bindings[i].input || !o->bindings[i].data)
            return fb_fail(FB_E_ARG, "binding %u has no name or no data", i);
    }
    return FB_OK;
}

fb_status fb_onnx_import_memory(const void *data, size_t bytes, const char *folder,
                                const fb_onnx_options *options, fb_model **out)
{
    Onnx__ModelProto *proto = NULL;
    *out = NULL;
    fb_imp_unsupported_clear();
    FB_TRY(check_options(options));
    fb_status status = unpack(data, bytes, &proto);
    if (status == FB_OK)
        status = import(&proto, folder, options, out);
    if (proto)
        onnx__model_proto__free_unpacked(proto, &allocator);
    if (status != FB_E_UNSUPPORTED)
        fb_imp_unsupported_clear();
    return status;
}

/* The folder of a path, "." when it has none. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    char *folder = fb_alloc(n + 1);
    if (folder) {
        memcpy(folder, slash ? path : ".", n);
        folder[n] = '\0';
    }
    return folder;
}

fb_status fb_onnx_import(const char *path, const fb_onnx_options *options, fb_model **out)
{
    void *data = NULL;
    size_t bytes = 0;
    Onnx__ModelProto *proto = NULL;
    *out = NULL;
    fb_imp_unsupported_clear();
    FB_TRY(check_options(options));
    char *folder = folder_of(path);
    if (!folder)
        return fb_imp_no_memory();
    const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    fb_status status = fb_file_map(path, &data, &bytes);
    if (status == FB_OK) {
        status = unpack(data, bytes, &proto);
        fb_file_unmap(data, bytes); /* the message has copies of everything */
        if (status == FB_OK)
            status = import(&proto, folder, options, out);
        if (status != FB_OK)
            status = fb_fail_in(status, "%s", file);
    }
    if (proto)
        onnx__model_proto__free_unpacked(proto, &allocator);
    fb_free(folder);
    if (status != FB_E_UNSUPPORTED)
        fb_imp_unsupported_clear();
    return status;
}

const char *fb_onnx_unsupported(void)
{
    return fb_imp_unsupported_text();
}

fb_status fb_open_any(const char *path, fb_model **out)
{
    static const char magic[4] = {(char)0x89, 'F', 'W', 'B'};
    void *data;
    size_t bytes;
    *out = NULL;
    FB_TRY(fb_file_map(path, &data, &bytes));
    bool ours = bytes >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
    fb_file_unmap(data, bytes);
    return ours ? fb_model_open(path, out) : fb_onnx_import(path, NULL, out);
}
