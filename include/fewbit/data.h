/* Labelled images, read as the user's training code reads them. Part of libfewbit-tools. */
#ifndef FEWBIT_DATA_H
#define FEWBIT_DATA_H

#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fb_data fb_data;

/* Preprocessing from text: NAME[,key=value...], NAME one of imagenet, tensorflow, caffe, cifar10,
 * mnist, none; keys size, resize, mean, std, scale, order (rgb, bgr, gray); several values joined
 * by '/', as in mean=0.485/0.456/0.406 or size=224/192 (height/width). */
FB_API fb_status fb_prep_parse(const char *text, fb_prep *prep);

/* The text that fb_prep_parse reads back to the same prep; at most `cap` bytes with the NUL. */
FB_API fb_status fb_prep_format(const fb_prep *prep, char *text, size_t cap);

/* Fills what the text left open from the network's input: a preset without a size crops to
 * height x width, with the preset's ratio of resize to crop. */
FB_API void fb_prep_fit(fb_prep *prep, uint32_t height, uint32_t width);

/* The network input that samples must fill: one sample is [height][width][channels] floats.
 * source_nchw says that arrays stored in files (npy) are [n][channels][height][width]. For an input
 * that is not an image, height = width = 1 and channels = elements. */
typedef struct fb_sample_shape {
    uint32_t height, width, channels;
    bool source_nchw;
} fb_sample_shape;

typedef struct fb_data_options {
    fb_prep prep;
    fb_sample_shape shape;
    uint64_t limit;      /* at most so many samples, spread evenly over the set; 0 = all */
    uint32_t n_threads;  /* decoding threads beside the caller; 0 = one */
} fb_data_options;

/* Opens a data set. `spec`:
 *   folder          class folders of JPEG/PNG (classes in byte order of their names are labels
 *                   0, 1, ...), or a folder of images without labels
 *   list.txt        lines "path label" (label a number; path relative to the list; may be absent)
 *   *-images-idx*   IDX, plain or .gz, [n][h][w] or [n][h][w][c] u8; labels from the file whose
 *                   name has "labels" for "images" and "idx1" for "idx3"/"idx4", or "images,labels"
 *   x.bin           CIFAR-10/100 binary (a folder of data_batch_*.bin, or test_batch.bin)
 *   x.npy[,y.npy]   f32/f64/u8/integer array [n]...; y integer labels; x.npz with members x and y
 *   a.jpg           one image
 */
FB_API fb_status fb_data_open(const char *spec, const fb_data_options *options, fb_data **out);
FB_API void fb_data_close(fb_data **data);
FB_API uint64_t fb_data_count(const fb_data *data);      /* samples that fb_data_next will give */
FB_API bool fb_data_labelled(const fb_data *data);
FB_API uint32_t fb_data_n_classes(const fb_data *data);  /* largest label + 1; 0 without labels */
FB_API const char *fb_data_class(const fb_data *data, uint32_t i); /* folder name, or NULL */
FB_API const char *fb_data_name(const fb_data *data, uint64_t i);  /* file name, or NULL */
/* Hex fingerprint of names, sizes and labels (not of pixels); stable across machines. */
FB_API const char *fb_data_fingerprint(const fb_data *data);

/* The next up to `max` samples in order, as floats after preprocessing; *got = 0 at the end.
 *   x       [max][height][width][channels]
 *   labels  [max], -1 where unknown; may be NULL
 * Samples ahead are decoded on the data set's own threads meanwhile. An image that cannot be decoded
 * fails with FB_E_FORMAT and its name. One caller at a time. */
FB_API fb_status fb_data_next(fb_data *data, uint32_t max, float *x, int32_t *labels,
                              uint32_t *got);
FB_API void fb_data_rewind(fb_data *data);

#ifdef __cplusplus
}
#endif
#endif
