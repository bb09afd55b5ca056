/* The .fewbit container. docs/FORMAT.md is the law; this header holds its constants.
 *
 *   header (32 bytes) | section table (24 bytes each) | sections, one after another
 *
 * To add something: a field at the end of an attribute (model/attr.c) or a bit that is reserved
 * needs no new section; data of its own gets a new section, required if a reader that skips it
 * would get wrong results; another way to store payloads gets a storage number (section_graph.c).
 */
#ifndef FB_FORMAT_FORMAT_H
#define FB_FORMAT_FORMAT_H

#include "format/bytes.h"
#include "model/model.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "payloads are used as they lie in the file, which is little-endian"
#endif

/* The first byte is not ASCII, then comes a carriage return, a line feed, a DOS end of file and a
 * line feed: transfers that mistake the file for text damage one of them (PNG's idea). */
#define FB_FORMAT_MAGIC                                                                            \
    "\x89"                                                                                         \
    "FWB\r\n\x1a\n"

enum {
    FB_FORMAT_MAJOR = 1, /* another one: readers refuse */
    FB_FORMAT_MINOR = 0, /* a higher one: readers go on, unknown required parts are refused */
    FB_FORMAT_HEADER = 32,
    FB_FORMAT_ENTRY = 24,
    FB_FORMAT_SECTIONS = 64, /* most sections */
    FB_FORMAT_DATA_LOG2 = 6, /* the DATA section and each payload in it start at multiples of 64 */
    FB_FORMAT_LARGE = 16384, /* payloads of so many bytes are used in place if not coded */
    FB_SECTION_REQUIRED = 1 << 0, /* flag: who does not know the section must refuse the file */
    FB_SECTION_CODED = 1 << 1     /* flag: varint with the raw size, then coded bytes (code.h) */
};

#define FB_SECTION_ID(a, b, c, d)                                                                  \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* In the order in which they are written. Those without content are left out. */
typedef enum fb_section {
    FB_SECTION_GRPH, /* tensors and nodes */
    FB_SECTION_STRS, /* their names */
    FB_SECTION_ENCP, /* parameters of encodings */
    FB_SECTION_PREP, /* preprocessing */
    FB_SECTION_LABL, /* labels */
    FB_SECTION_NOTE, /* notes */
    FB_SECTION_FIXD, /* scales, zero points and small payloads that may depend on data */
    FB_SECTION_SMAL, /* other small payloads, without gaps, in tensor order */
    FB_SECTION_CODE, /* entropy-coded payloads (entropy.h) */
    FB_SECTION_DATA, /* the other payloads */
    FB_SECTION_COUNT
} fb_section;

/* Where the payload of a constant is. FIXD has those that calibration data may decide (biases,
 * indices of products), in fixed width and uncoded: unless weights are entropy-coded, the size of a
 * file can be told before the data are read. */
typedef enum fb_storage {
    FB_STORED_DATA,
    FB_STORED_SMAL,
    FB_STORED_FIXD,
    FB_STORED_CODE
} fb_storage;
static inline fb_storage fb_format_storage(const fb_tensor *t, bool coded)
{
    if (coded)
        return FB_STORED_CODE;
    if (t->data_bytes >= FB_FORMAT_LARGE)
        return FB_STORED_DATA;
    return t->rank < 2 || t->enc.kind == FB_ENC_PRODUCT ? FB_STORED_FIXD : FB_STORED_SMAL;
}

typedef struct fb_section_def {
    char name[5];
    uint32_t id;
    uint8_t required, align_log2;
    bool may_be_coded; /* by code.h */
} fb_section_def;
const fb_section_def *fb_section_get(fb_section section);

enum {
    FB_FORMAT_NO_CHECKSUM = 1 << 0, /* reading, for fuzzing: checksums are not compared */
    FB_FORMAT_NO_CODING = 1 << 1    /* writing, for tests and for fuzzing: no section is coded */
};

/* The file as one block: with flags 0 what fb_model_save writes. Ends with fb_out_free. */
fb_status fb_format_write(const fb_model *m, unsigned flags, fb_out *out);

/* A model from a file in memory, 64-byte aligned; large payloads are borrowed from there, and
 * *in_place says whether any is. Sentences do not name the file. On failure *out is NULL. */
fb_status fb_format_read(const void *data, size_t bytes, unsigned flags, fb_model **out,
                         bool *in_place);

/* Where payloads lie within DATA, in tensor order, each at the next multiple of 64; and the sum of
 * those in SMAL. coded[n_tensors]: not 0 = in CODE (form.h). offset[n_tensors] may be NULL.
 * FB_E_LIMIT when a sum does not fit; data_bytes of all constants must be set. */
fb_status fb_format_layout(const fb_model *m, const uint8_t *coded, uint64_t *offset,
                           uint64_t *data_bytes, uint64_t *small_bytes);
/* Bytes of one element of a small payload, for the coder; 1 for packed ones. */
unsigned fb_format_period(const fb_tensor *t);

/* One pair a section: writers cannot fail but for memory, which `out` remembers. Readers fill a
 * model in the order of fb_section; what they leave to fb_model_validate cannot hurt them. */
void fb_put_graph(fb_out *out, const fb_model *m, const uint8_t *coded);
/* *coded [n_tensors] is the arena's. */
fb_status fb_get_graph(fb_in *in, fb_model *m, uint8_t **coded);
void fb_put_names(fb_out *out, const fb_model *m);
fb_status fb_get_names(fb_in *in, fb_model *m);
void fb_put_encodings(fb_out *out, const fb_model *m);
/* Tables of levels: those of constants in ENCP, that of an activation in FIXD, where its kind, bits
 * and number of levels are known. Patches in ENCP. */
void fb_put_levels(fb_out *out, const fb_encoding *e);
fb_status fb_get_levels(fb_in *in, fb_model *m, fb_encoding *e);
void fb_put_levels_fixed(fb_out *out, const fb_encoding *e);
fb_status fb_get_levels_fixed(fb_in *in, fb_model *m, fb_encoding *e);
/* Products: the form in ENCP, scales and codebooks in FIXD. fb_get_product sets all but the lists
 * and leaves ranges to fb_tensor_payload_bytes and to validation. */
void fb_put_product(fb_out *out, const fb_encoding *e);
fb_status fb_get_product(fb_in *in, fb_tensor *t);
void fb_put_product_fixed(fb_out *out, const fb_tensor *t, bool coded);
fb_status fb_get_product_fixed(fb_in *in, fb_model *m, fb_tensor *t, bool coded);
void fb_put_patches(fb_out *out, const fb_encoding *e);
fb_status fb_get_patches(fb_in *in, fb_model *m, fb_tensor *t);
/* Also sets data_bytes of all constants, whose sum must not exceed payload_bytes. */
fb_status fb_get_encodings(fb_in *in, fb_model *m, uint64_t payload_bytes);
/* True when the scales lie along an axis and on the grid, within 16 octaves: then ENCP has them, in
 * a byte each, from place *least on. Else they are in FIXD. */
bool fb_format_on_grid(const fb_encoding *e, int32_t *least);
void fb_put_fixed(fb_out *out, const fb_model *m, const uint8_t *coded);
fb_status fb_get_fixed(fb_in *in, fb_model *m, const uint8_t *coded);
void fb_put_prep(fb_out *out, const fb_model *m);
fb_status fb_get_prep(fb_in *in, fb_model *m);
void fb_put_labels(fb_out *out, const fb_model *m);
fb_status fb_get_labels(fb_in *in, fb_model *m);
void fb_put_notes(fb_out *out, const fb_model *m);
fb_status fb_get_notes(fb_in *in, fb_model *m);

#endif
