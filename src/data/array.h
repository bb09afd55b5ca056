/* Samples of equal size that lie in files or memory as numbers. */
#ifndef FB_DATA_ARRAY_H
#define FB_DATA_ARRAY_H

#include "data/prepare.h"

typedef enum fb_data_elem {
    FB_DATA_U8,
    FB_DATA_I8,
    FB_DATA_U16,
    FB_DATA_I16,
    FB_DATA_U32,
    FB_DATA_I32,
    FB_DATA_U64,
    FB_DATA_I64,
    FB_DATA_F16,
    FB_DATA_F32,
    FB_DATA_F64
} fb_data_elem;

size_t fb_data_elem_bytes(fb_data_elem elem);

/* A run of samples, `stride` bytes apart; the payload of the first starts at `first`. */
typedef struct fb_data_piece {
    fb_data_bytes bytes;
    uint64_t first, stride, n;
    char *name; /* owned */
} fb_data_piece;

/* How a sample's dims are to be read. */
typedef enum fb_data_order {
    FB_DATA_BY_NETWORK, /* npy: [c][h][w] or [h][w][c] as the network's source has it */
    FB_DATA_HWC,        /* idx */
    FB_DATA_CHW         /* cifar */
} fb_data_order;

/* How a sample becomes the network's input: decided once by fb_data_array_fit. */
typedef enum fb_data_how {
    FB_DATA_IMAGE, /* u8 of 1 or 3 channels */
    FB_DATA_VALUES /* element by element */
} fb_data_how;

typedef struct fb_data_array {
    void *pieces; /* fb_data_piece[n_pieces] */
    size_t n_pieces, pieces_cap;
    fb_data_elem elem;
    fb_data_order order;
    uint32_t rank; /* of one sample */
    uint64_t dims[FB_MAX_RANK];
    size_t n_elems; /* product of dims */
    /* after fb_data_array_fit */
    fb_data_how how;
    bool planar; /* stored [c][h][w] */
    bool geometry;
    uint32_t h, w, c;
} fb_data_array;

void fb_data_array_free(fb_data_array *array);

/* Sets elem, order and dims; FB_E_LIMIT when a sample is too large. `name` is for sentences. */
fb_status fb_data_array_shape(fb_data_array *array, fb_data_elem elem, fb_data_order order,
                              uint32_t rank, const uint64_t *dims, const char *name);

/* Takes `bytes` over (also on failure) and checks that n samples lie in them. */
fb_status fb_data_array_add(fb_data_array *array, fb_data_bytes *bytes, uint64_t first,
                            uint64_t stride, uint64_t n, const char *name);

/* Decides how samples become the network's input, or says with both shapes why they cannot. Samples
 * that have the network's height and width already are not resized or cropped. */
fb_status fb_data_array_fit(fb_data_array *array, const fb_data_prepare *prepare);

/* Sample i as the network's input, x [prepare->n_elems]. Threads may read the same array. */
fb_status fb_data_array_read(const fb_data_array *array, const fb_data_prepare *prepare, uint64_t i,
                             fb_data_scratch *scratch, float *x);

/* The piece that sample i lies in; *i becomes its index there. */
const fb_data_piece *fb_data_array_piece(const fb_data_array *array, uint64_t *i);

/* Element k of little-endian data. */
float fb_data_elem_float(fb_data_elem elem, const uint8_t *data, size_t k);
/* The same of an integer type; false when it does not fit. */
bool fb_data_elem_int(fb_data_elem elem, const uint8_t *data, size_t k, int64_t *out);

#endif
