/* ONNX in and out. Part of libfewbit-tools. */
#ifndef FEWBIT_ONNX_H
#define FEWBIT_ONNX_H

#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values for graph inputs that are not data but parameters (a Reshape's shape, a Slice's starts):
 * they become constants. */
typedef struct fb_onnx_binding {
    const char *input;
    fb_dtype dtype;
    uint32_t rank;
    int64_t dims[FB_MAX_RANK];
    const void *data;
} fb_onnx_binding;

typedef struct fb_onnx_options {
    const fb_onnx_binding *bindings;
    uint32_t n_bindings;
    int64_t batch;       /* value for a symbolic first dim; 0 keeps it symbolic */
    bool keep_io_layout; /* inputs stay [n][c][h][w]; default false: an image input that only feeds
                            layers which want channels last is taken as [n][h][w][c] */
    bool keep_names;     /* no fusing, so that every ONNX tensor can be observed (diff) */
} fb_onnx_options;

/* Opsets 7 to 21. Treats the file as hostile. Unsupported nodes are listed all at once: fb_error()
 * has the first few, fb_onnx_unsupported() all, one per line "node: operator: reason".
 * `options` may be NULL. */
FB_API fb_status fb_onnx_import(const char *path, const fb_onnx_options *options, fb_model **out);
/* The same from memory; external data is looked for in `folder` (NULL: refused). */
FB_API fb_status fb_onnx_import_memory(const void *data, size_t bytes, const char *folder,
                                       const fb_onnx_options *options, fb_model **out);
/* Lines left by the last import of this thread that failed with FB_E_UNSUPPORTED; "" otherwise. */
FB_API const char *fb_onnx_unsupported(void);

/* Writes ONNX (opset 13, NCHW): float parts as float operators, quantised tensors as
 * QuantizeLinear/DequantizeLinear around float operators (QDQ). Atomic, like fb_model_save. */
FB_API fb_status fb_onnx_export(const fb_model *model, const char *path);

/* Opens either kind of file by its first bytes: .fewbit or ONNX. */
FB_API fb_status fb_open_any(const char *path, fb_model **out);

#ifdef __cplusplus
}
#endif
#endif
