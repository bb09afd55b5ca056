/* Which layers run on integer codes, which activations are therefore encoded, and which of those
 * share one encoding.
 *
 *   - A conv or dense layer with constant weights that the user did not exclude is *integer*: it
 *     wants its input encoded. It writes codes or floats, as its output is encoded or not.
 *   - Pools, moves of data, additions, products and pointwise functions are *carriers*: where their
 *     output is encoded they run on codes, so their inputs are encoded as well.
 *   - All else (softmax, LRN, resize, ...) is float.
 *
 * An activation is encoded exactly when an integer layer reads it, directly or through carriers.
 * What no integer layer will read (the network's output, what leads to a softmax) stays float: the
 * last integer layer before it writes floats, and encoding would only cost accuracy. */
#ifndef FB_COMPRESS_REGION_H
#define FB_COMPRESS_REGION_H

#include "model/model.h"

/* Which layers want codes. */
typedef enum fb_region_layers {
    FB_REGION_INTEGER, /* those whose weight the integer kernels take */
    FB_REGION_ALL      /* all with constant weights: the others decode their input */
} fb_region_layers;

typedef struct fb_region {
    bool *integer;   /* [n_nodes] layers that want codes */
    bool *encoded;   /* [n_tensors] */
    int32_t *leader; /* [n_tensors] encoded tensors with the same leader share an encoding */
    bool *positive;  /* [n_tensors] cannot hold a value below 0, whatever the input */
    uint32_t n_integer, n_encoded;
} fb_region;

/* `include`, `exclude`: patterns of layer names as in fb_glob; include "" takes all. */
fb_status fb_region_find(const fb_model *m, const char *include, const char *exclude, fb_region *r);
/* The same for a choice of layers; fb_region_find takes INTEGER. */
fb_status fb_region_find_layers(const fb_model *m, const char *include, const char *exclude,
                                fb_region_layers layers, fb_region *r);
void fb_region_free(fb_region *r);

/* The codes that an activation gets: affine ones as told here, or any encoding. */
typedef struct fb_code_choice {
    const fb_encoding *enc; /* NULL: the fields below */
    unsigned bits;          /* with enc NULL, 0: the tensor stays as it is */
    bool is_signed, pow2;
    float scale;
    int32_t zero;
} fb_code_choice;

/* Encodes each encoded tensor as choice[tensor] says; [n_tensors] of the model that the region was
 * found in. Inputs and outputs of the model stay floats: their integer readers get a twin behind a
 * convert node, so nodes move and tensors are added (the old ones keep their numbers). */
fb_status fb_region_encode(fb_model *m, const fb_region *r, const fb_code_choice *choice);

/* Conv or dense with an f32 activation as input and a constant weight that is plain, a product
 * (which may run by look-up, and decodes its input where it cannot), or encoded as the integer
 * kernels take it: integers of at most 8 bits, a scale for the tensor or for each output channel.
 */
bool fb_node_is_layer(const fb_model *m, const fb_node *n);
/* Runs on codes when its output is encoded. */
bool fb_node_is_carrier(const fb_model *m, const fb_node *n);

#endif
