/* A network as data: what is in it, how each tensor is encoded, what travels with it. */
#ifndef FEWBIT_MODEL_H
#define FEWBIT_MODEL_H

#include "fewbit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FB_MAX_RANK 8

typedef struct fb_model fb_model;

typedef enum fb_dtype {
    FB_F32 = 1,
    FB_U8 = 2,
    FB_S8 = 3,
    FB_U16 = 4,
    FB_S16 = 5,
    FB_S32 = 6,
    FB_S64 = 7,
    FB_BOOL = 9,
    FB_F16 = 10,
    FB_F64 = 11,
    FB_U32 = 12,
    FB_U64 = 13,
    FB_BF16 = 16
} fb_dtype; /* the numbers are ONNX's TensorProto.DataType where it has them, save F32 = 1 */

FB_API const char *fb_dtype_name(fb_dtype dtype); /* "f32", "u8", ...; "?" when unknown */
FB_API size_t fb_dtype_bytes(fb_dtype dtype);     /* bytes of one element, 0 when unknown */

/* How the user's training code turned an image into the network's input. Stored in the model.
 * An image is decoded to 8-bit RGB, resized (PIL's antialiased bilinear), centre-cropped,
 * reordered, then value = (pixel / scale - mean[c]) / std[c] with c in `order`. */
typedef enum fb_channel_order { FB_RGB = 0, FB_BGR = 1, FB_GRAY = 2 } fb_channel_order;

typedef struct fb_prep {
    char name[16];           /* preset it came from; "" when the model has no preprocessing */
    uint32_t resize_h;       /* resize to exactly h x w when both are > 0; */
    uint32_t resize_w;       /*   with w = 0, h is the length of the short side; 0 = no resize */
    uint32_t crop_h, crop_w; /* centre crop after the resize; 0 = no crop */
    float scale;             /* > 0 */
    float mean[4], std[4];   /* by channel in `order`; std > 0 */
    fb_channel_order order;
} fb_prep;

/* Opens a .fewbit file (memory-mapped; large weights that are not entropy-coded are read where they
 * lie). The file must not change while the model is open. On failure *out is NULL. */
FB_API fb_status fb_model_open(const char *path, fb_model **out);

/* The same from memory: `data` is borrowed and must outlive the model, 64-byte aligned. */
FB_API fb_status fb_model_open_memory(const void *data, size_t bytes, fb_model **out);

/* Writes `path` through a temporary in the same folder and a rename: after a failure, whatever was
 * at `path` is still there. */
FB_API fb_status fb_model_save(const fb_model *model, const char *path);

/* Exactly the bytes that fb_model_save would write now. */
FB_API fb_status fb_model_file_bytes(const fb_model *model, uint64_t *bytes);

FB_API void fb_model_close(fb_model **model); /* NULL is fine; clears the pointer */

/* What travels with the model. Setters copy. Notes are provenance: "method", "seed", "source",
 * "data.fingerprint", "accuracy.top1", ... */
FB_API const fb_prep *fb_model_prep(const fb_model *model); /* never NULL; name "" if none */
FB_API fb_status fb_model_set_prep(fb_model *model, const fb_prep *prep);
FB_API uint32_t fb_model_n_labels(const fb_model *model);
FB_API const char *fb_model_label(const fb_model *model, uint32_t i); /* NULL out of range */
FB_API fb_status fb_model_set_labels(fb_model *model, const char *const *labels, uint32_t n);
FB_API const char *fb_model_note(const fb_model *model, const char *key); /* NULL if absent */
FB_API fb_status fb_model_set_note(fb_model *model, const char *key, const char *value);
FB_API uint32_t fb_model_n_notes(const fb_model *model);
FB_API void fb_model_note_at(const fb_model *model, uint32_t i, const char **key,
                             const char **value);

/* Tensors and layers, for reading. Strings and arrays are borrowed from the model. */
typedef struct fb_tensor_info {
    const char *name;
    fb_dtype dtype; /* of the values it stands for */
    uint32_t rank;
    int64_t dims[FB_MAX_RANK]; /* slowest first; -k stands for k times the batch size */
    bool is_const;
    bool source_nchw;      /* an input that the source file held channels first */
    const char *encoding;  /* "f32", "affine8u", "affine4 per-channel", ...; valid until the
                              next call on this thread */
    uint64_t stored_bytes; /* of a constant: payload plus scales, levels, outliers, before the
                              file's coding */
} fb_tensor_info;

typedef struct fb_layer_info {
    const char *name;
    const char *op;
    uint32_t n_in, n_out;
    const int32_t *in, *out; /* tensor indices; -1 is an absent optional input */
    int32_t weight;          /* tensor index of the weight matrix of a conv or dense layer, or -1 */
    uint64_t macs;           /* multiply-adds for one image */
    uint64_t ops;            /* macs; with product weights what look-up takes, as Q-CNN counts it:
                                multiply-adds for tables, plus one addition an index looked up */
    uint64_t params;         /* elements of all constant inputs */
    const char *arithmetic;  /* of a layer in fixed point: "acc28 saturate half-up"; "" for others.
                                Valid until the next call on this thread */
} fb_layer_info;

FB_API uint32_t fb_model_n_tensors(const fb_model *model);
FB_API fb_status fb_model_tensor(const fb_model *model, uint32_t i, fb_tensor_info *info);
FB_API uint32_t fb_model_n_layers(const fb_model *model); /* in execution order */
FB_API fb_status fb_model_layer(const fb_model *model, uint32_t i, fb_layer_info *info);
FB_API uint32_t fb_model_n_inputs(const fb_model *model);
FB_API uint32_t fb_model_n_outputs(const fb_model *model);
FB_API int32_t fb_model_input(const fb_model *model,
                              uint32_t i); /* tensor index, -1 out of range */
FB_API int32_t fb_model_output(const fb_model *model, uint32_t i);

/* Bytes of the activations of one image, counted as the literature counts them (METHODS E.4): every
 * tensor that one layer hands to another, once, elements times bits / 8, whether or not two of them
 * ever share memory. Reshapes and changes of encoding hand on what they were given and do not
 * count; neither do the model's inputs and final outputs. */
FB_API fb_status fb_model_activation_bytes(const fb_model *model, uint64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
