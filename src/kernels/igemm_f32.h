/* Convolutions and batched dense layers as a matrix product over rows of pointers ("indirect
 * gemm"): no copy of the image is made; each output pixel is a row of the left matrix whose k
 * elements lie in n_seg segments anywhere in memory.
 *
 *   kernel row   : one segment a kernel row, kw * c floats that are contiguous in [h][w][c]. Pixels
 *                  whose row sticks out of the image get a copy with zeros in the scratch.
 *   kernel tap   : one segment a tap, c / groups floats; padding points at a row of zeros. For many
 *                  channels, dilated or grouped windows.
 *
 * Right matrix: panels of 16 output channels, [k][16], the last panel of a group 8, 16 or 24 wide
 * (so that every multiple of 8 from 16 on wastes nothing), zero beyond the last channel.
 *
 * The sum of an output is cut into blocks of k that stay in L1, always at the same places, and
 * added up in order: results depend neither on tiles nor on threads. Error as in conv_f32.h.
 */
#ifndef FB_KERNELS_IGEMM_F32_H
#define FB_KERNELS_IGEMM_F32_H

#include "kernels/few_f32.h"
#include "kernels/registry.h"
#include "kernels/window.h"

#include <stddef.h>

/* --- micro-kernel: a block of at most mr x nr outputs ------------------------------------------
 */

enum { FBK_IGEMM_NR = 16, FBK_IGEMM_MR = 6, FBK_IGEMM_MR_24 = 4 }; /* 24-wide panels: 4 rows */

typedef struct fbk_igemm_f32_block {
    size_t m;                 /* rows, 1 .. mr */
    size_t nr, n;             /* panel width 8, 16 or 24; columns to store, nr - 8 < n <= nr */
    size_t n_seg, len;        /* segments, floats of each; both > 0 */
    const float *const *rows; /* row i of segment s starts at rows[s * rows_ld + i] + offset */
    size_t rows_ld, offset;
    const float *b;    /* [n_seg * len][nr], 32-byte aligned */
    const float *bias; /* [n], or NULL; not used when add */
    bool add;          /* y already holds the sum of earlier blocks */
    float *y;          /* [m] rows ldy apart */
    size_t ldy;
    float lo, hi; /* clamp; NaN passes */
} fbk_igemm_f32_block;

/* y = clamp((add ? y : bias) + rows * b). Only the n columns of y are touched. */
typedef void fbk_igemm_f32_fn(const fbk_igemm_f32_block *block);

#define FBK(symbol, cpu, family) fbk_##family##_fn symbol;
#include "kernels/igemm_f32.inc"
#undef FBK

FBK_PICK(igemm_f32)

/* --- the whole image ---------------------------------------------------------------------------
 */

/* Everything that depends on the shape alone; made once by fbk_igemm_f32_shape_make. */
typedef struct fbk_igemm_f32_shape {
    fbk_window g;
    bool by_tap;
    size_t n_seg, seg_len, k;        /* k = n_seg * seg_len */
    size_t segs_per_block, part_len; /* a block of k: whole segments, or (1) a part of one */
    size_t coded_k;                  /* k when each block is padded to whole 8 rows, as codes are */
    size_t n, n_panels, last_nr;     /* of one group: channels, panels, width of the last panel */
    size_t tile_px, tile_panels;     /* of a tile */
    size_t px_tiles, panel_tiles;    /* n_tiles = groups * px_tiles * panel_tiles */
    size_t copy_slots;               /* rows that a tile may have to copy */
    size_t scratch_bytes;            /* without room for a decoded block */
} fbk_igemm_f32_shape;

void fbk_igemm_f32_shape_make(const fbk_window *g, fbk_igemm_f32_shape *s);
uint32_t fbk_igemm_f32_tiles(const fbk_igemm_f32_shape *s);

/* Floats of packed weights, then of zeros that by_tap padding points at (both in one buffer,
 * 64-byte aligned, zeroed by the caller). */
size_t fbk_igemm_f32_packed_elems(const fbk_igemm_f32_shape *s);
/* w [oc][kh][kw][c / groups]. */
void fbk_igemm_f32_pack(const fbk_igemm_f32_shape *s, const float *w, float *packed);

/* Weights in few bits: panels of codes, which a tile decodes into scratch block by block, once for
 * all its pixels. Results are those of the decoded weights, to the bit. Columns are numbered group
 * by group, each padded to fbk_igemm_f32_columns. */
typedef struct fbk_igemm_f32_few {
    fbk_few_f32 w;
    const uint8_t *codes; /* fbk_igemm_f32_codes_bytes */
    fbk_unpack_f32_fn *unpack;
} fbk_igemm_f32_few;

size_t fbk_igemm_f32_columns(const fbk_igemm_f32_shape *s);
size_t fbk_igemm_f32_codes_bytes(const fbk_igemm_f32_shape *s, uint32_t bits);
/* Bytes of scratch for a decoded block, behind scratch_bytes rounded up to 64. */
size_t fbk_igemm_f32_block_bytes(const fbk_igemm_f32_shape *s);
/* w [oc][kh][kw][c / groups], a code a byte, its bits beyond `bits` 0; own as in fbk_few_f32; codes
 * are zero before. */
void fbk_igemm_f32_pack_codes(const fbk_igemm_f32_shape *s, const uint8_t *w, uint32_t bits,
                              bool own, uint8_t *codes);

typedef struct fbk_igemm_f32_args {
    const fbk_igemm_f32_shape *s;
    fbk_igemm_f32_fn *micro;
    const float *x, *packed, *bias; /* one image [h][w][c]; bias [oc] or NULL */
    const fbk_igemm_f32_few *few;   /* NULL, or the weights; packed is then seg_len zeros */
    float *y;                       /* [oh][ow][oc] */
    float lo, hi;
    void *scratch; /* s->scratch_bytes and, with few, the decoded block; 64-byte aligned */
} fbk_igemm_f32_args;

void fbk_igemm_f32_tile(const fbk_igemm_f32_args *a, uint32_t tile);

#endif
