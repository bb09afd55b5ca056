/* How the numbers of a tensor are written. A method chooses encodings; kernels read them.
 *
 * To add an encoding: a line in fb_enc_kind, its parameters in fb_encoding, one file
 * model/encoding_<name>.c with an fb_encoding_def, a row in encoding.c, a paragraph in
 * docs/FORMAT.md. Everything else (file, inspect, decode) goes through fb_encoding_def.
 *
 * plain   elements of the tensor's dtype, row-major: f32 weights, integer constants.
 * affine  value = scale * (q - zero), q an integer of `bits` bits. Stored packed, least significant
 *         bit first, in row-major order without padding between rows; signed q as two's complement
 *         of `bits` bits. 8- and 16-bit q are therefore plain (little-endian) arrays. The bits
 *         beyond the last element are 0.
 * levels  value = scale * (level[q] - zero), q an unsigned index of `bits` bits, below n_levels,
 *         stored packed as above. Levels ascend strictly. With level_bits = 0 they are floats and
 *         zero is NULL; else integers of level_bits bits (signed as is_signed says): an affine grid
 *         of level_bits bits of which so many points are used, which integer kernels take.
 *
 * product A weight [ct][kernel...][c] cut into short vectors, each of them the number of a
 * codeword, or a sum of codewords, times the scale of its output channel (METHODS A.2; product.h).
 *
 * Affine and levels may have patches: elements, constants only, whose value stands aside in 16-bit
 * floats because the codes do not reach it; their codes are those of the nearest value.
 *
 * A sparse constant (plain f32, affine or levels; sparse.h) keeps only elements that are not 0:
 * where they are, then their codes, packed (plain: 4 bytes each). bitmap  a bit for each element, 1
 * = kept, least significant first, padded to whole bytes runs4   for each kept element, the number
 * of zeros before it since the last one, in 4 bits, runs8   or 8, packed. Where more than 15 (255)
 * zeros follow each other, at the end too, the 16th (256th) is kept. The zeros are stored exactly:
 * affine takes its zero point, levels the index of the level 0, which each table must then have.
 *
 * An activation while running: 8- and 16-bit codes are arrays of bytes or 16-bit integers. Codes of
 * other widths are packed likewise, row by row: each run of elements of the last two dims ([w][c];
 * [c] in rank 2) starts at a whole byte.
 */
#ifndef FB_MODEL_ENCODING_H
#define FB_MODEL_ENCODING_H

#include "fewbit/model.h"

typedef enum fb_enc_kind {
    FB_ENC_PLAIN = 0,
    FB_ENC_AFFINE = 1,
    FB_ENC_LEVELS = 2,
    FB_ENC_PRODUCT = 3,
    FB_ENC_COUNT
} fb_enc_kind;

typedef enum fb_sparse {
    FB_DENSE = 0,
    FB_SPARSE_BITMAP = 1,
    FB_SPARSE_RUNS4 = 2,
    FB_SPARSE_RUNS8 = 3
} fb_sparse;

/* Which codebook a vector of a product belongs to; its place m within its row decides. */
typedef enum fb_books {
    FB_BOOKS_SUBSPACE = 0, /* one for each m: shared by kernel positions and output channels */
    FB_BOOKS_LAYER = 1     /* one for all */
} fb_books;

typedef struct fb_encoding {
    fb_enc_kind kind;
    /* affine: */
    uint8_t bits;      /* 1..16; product: of an index, the least that n_words need */
    bool is_signed;    /* q in [-2^(bits-1), 2^(bits-1) - 1], else [0, 2^bits - 1] */
    bool pow2;         /* every scale is a power of two (fixed point) */
    int8_t axis;       /* -1: one scale for the tensor; else one per index of this axis */
    uint32_t group;    /* 0, or (axis >= 0): the elements that follow within one index of `axis`, in
                          row-major order, are cut into groups of so many, each with its own scale;
                          the last group of each index may be short. Where `axis` is not the first,
                          those elements do not lie side by side, but are still counted in order */
    uint32_t n_scales; /* 1, or dims[axis], or dims[axis] * groups */
    float *scale;      /* [n_scales], finite, > 0 */
    int32_t *zero;     /* [n_scales] within q's range, or NULL when all are 0 */
    /* levels: bits 1..8; scales as above, without groups; */
    uint16_t n_levels;  /* 1 .. 2^bits */
    uint8_t level_bits; /* 0: floats; 2..16: integers */
    uint32_t n_tables;  /* 1, or dims[axis] */
    float *level;       /* [n_tables][n_levels], ascending */
    /* product, constants only; product.h. Scales as above, axis -1 or 0, without zero points: */
    uint16_t n_words;   /* K, 2..256: codewords of a codebook */
    uint8_t sub;        /* d, 1..64: elements of a vector, at most those of a row */
    uint8_t n_stages;   /* R, 1..4: codewords that are added */
    fb_books books;     /* with FB_BOOKS_SUBSPACE: */
    uint32_t n_groups;  /* each of so many equal runs of output channels, the groups of a
                           convolution, has codebooks of its own; 1: shared by all */
    bool along_kernel;  /* vectors lie along the kernel's positions, else along the channels */
    uint8_t word_bits;  /* 32 or 16: words are floats, exact in f32 or f16; 8: integers -128..127 */
    float *word_scale;  /* [n_stages] > 0; the first is 1, all are where words are floats */
    float *word;        /* [n_stages][books][n_words][sub]; 0 beyond the end of a row */
    uint8_t table_bits; /* 0: runs on the decoded weights; 5..8: by look-up in tables of integers of
                           so many bits (NUMERICS.md), for words of 8 bits along the channels */
    float table_scale;  /* > 0 with table_bits, else 0: value of a table's integer 1, in units of
                           input value times word */
    /* constants: */
    fb_sparse sparse;
    size_t n_kept; /* sparse: elements kept */
    uint32_t n_patches;
    uint64_t *patch_at; /* [n_patches] element numbers, ascending */
    float *patch;       /* [n_patches] exact in f16 */
} fb_encoding;

struct fb_tensor;

typedef struct fb_encoding_def {
    const char *name;
    /* Bytes of a payload for n elements; FB_E_LIMIT on overflow. Parameters must be valid. */
    fb_status (*payload_bytes)(const struct fb_tensor *t, size_t n_elems, size_t *bytes);
    /* Checks parameters against the tensor's dtype and dims (n_scales, ranges, finiteness). The
     * dims must be within the limits. Sentences do not name the tensor: the caller does. */
    fb_status (*validate)(const struct fb_tensor *t);
    /* Decodes elements [first, first + n) of a constant to f32. The reference of every kernel that
     * decodes in registers. */
    void (*decode)(const struct fb_tensor *t, size_t first, size_t n, float *out);
    /* Short text: "f32", "affine8u", "affine4 per-channel", "affine4 per-group-64 pow2". */
    void (*describe)(const struct fb_tensor *t, char *text, size_t cap);
} fb_encoding_def;

const fb_encoding_def *fb_encoding_get(fb_enc_kind kind); /* NULL out of range */

/* Number of scales that an affine tensor with these dims, axis and group has; false above 2^32 - 1.
 * The dims must be within the limits and, with an axis, positive. */
bool fb_affine_scale_count(const struct fb_tensor *t, uint64_t *n);
/* Index into scale[] and zero[] of element `i` (row-major) of an affine tensor. */
uint32_t fb_affine_scale_index(const struct fb_tensor *t, size_t i);

/* Whether an activation's codes, or the levels that they stand for, are integers of at most 8 bits:
 * what integer kernels take as an input. */
static inline bool fb_encoding_is_bytes(const fb_encoding *e)
{
    return (e->kind == FB_ENC_AFFINE && e->bits <= 8) ||
           (e->kind == FB_ENC_LEVELS && e->level_bits >= 1 && e->level_bits <= 8);
}

/* Whether a constant is integers of at most 8 bits times one scale, or times one for each index of
 * axis 0, and nothing else: what integer kernels take as a weight. */
bool fb_tensor_is_int8(const struct fb_tensor *t);
/* Elements [first, first + n) of such a constant as integers: the codes, or the levels that they
 * stand for, less the zero point; -255..255. */
void fb_tensor_integers(const struct fb_tensor *t, size_t first, size_t n, int16_t *out);

/* Packed integers of 1 to 16 bits: element i of a packed array, and its writer (the bits of element
 * i must be zero before; higher bits of q are dropped). Neither touches a byte without bits of i.
 */
int32_t fb_packed_get(const uint8_t *data, size_t i, unsigned bits, bool is_signed);
void fb_packed_put(uint8_t *data, size_t i, unsigned bits, int32_t q);
/* Bytes of n packed elements; false on overflow. */
bool fb_packed_bytes(size_t n, unsigned bits, size_t *bytes);

#endif
