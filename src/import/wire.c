/* What a hostile file may do to protobuf-c: overflow the stack (unpacking recurses), allocate a
 * hundred bytes for each two of the file (empty messages), merge repeated singular messages over
 * and over. One linear look over the wire format rules all of that out. */
#include "import/import.h"

enum { MAX_DEPTH = 48, MAX_MESSAGES = 1 << 22 };

typedef struct wire {
    const uint8_t *at, *end;
    size_t n_messages;
} wire;

static fb_status damaged(void)
{
    return fb_fail(FB_E_FORMAT, "not an ONNX model: the protobuf data is damaged");
}

static bool varint(wire *w, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (w->at == w->end)
            return false;
        uint8_t byte = *w->at++;
        v |= (uint64_t)(byte & 127u) << shift;
        if (!(byte & 128u)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static fb_status message(wire *w, const ProtobufCMessageDescriptor *d, unsigned depth);

/* A length-delimited field: descends when the schema says that it is a message. */
static fb_status delimited(wire *w, const ProtobufCFieldDescriptor *f, uint64_t *seen,
                           unsigned index, unsigned depth)
{
    uint64_t bytes;
    if (!varint(w, &bytes) || bytes > (uint64_t)(w->end - w->at))
        return damaged();
    const uint8_t *end = w->at + bytes;
    if (f && f->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            if (index < 64 && (*seen >> index & 1u))
                return fb_fail(FB_E_FORMAT, "not an ONNX model: field %s is given twice", f->name);
            *seen |= index < 64 ? (uint64_t)1 << index : 0;
        }
        wire inner = {w->at, end, w->n_messages};
        FB_TRY(message(&inner, f->descriptor, depth + 1));
        w->n_messages = inner.n_messages;
    }
    w->at = end;
    return FB_OK;
}

static fb_status message(wire *w, const ProtobufCMessageDescriptor *d, unsigned depth)
{
    uint64_t seen = 0;
    if (depth > MAX_DEPTH)
        return fb_fail(FB_E_LIMIT, "messages nest deeper than %d", MAX_DEPTH);
    if (++w->n_messages > MAX_MESSAGES)
        return fb_fail(FB_E_LIMIT, "more than %d protobuf messages", MAX_MESSAGES);
    while (w->at < w->end) {
        uint64_t tag, skip = 0;
        if (!varint(w, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
            return damaged();
        unsigned kind = (unsigned)(tag & 7u);
        if (kind == 2) {
            const ProtobufCFieldDescriptor *f =
                protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
            FB_TRY(delimited(w, f, &seen, f ? (unsigned)(f - d->fields) : 64, depth));
            continue;
        }
        if (kind == 0) {
            if (!varint(w, &skip))
                return damaged();
            continue;
        }
        skip = kind == 1 ? 8 : kind == 5 ? 4 : 0;
        if (skip == 0 || skip > (uint64_t)(w->end - w->at))
            return damaged();
        w->at += skip;
    }
    return FB_OK;
}

fb_status fb_imp_wire_check(const void *data, size_t bytes)
{
    if (bytes == 0)
        return fb_fail(FB_E_FORMAT, "not an ONNX model: the file is empty");
    wire w = {data, (const uint8_t *)data + bytes, 0};
    return message(&w, &onnx__model_proto__descriptor, 0);
}
