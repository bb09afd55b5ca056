/* Labelled images, read as the user's training code reads them. Part of libfewbit-tools. */
#ifndef FEWBIT_DATA_H
#define FEWBIT_DATA_H

#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fb_data fb_data;

/* Preprocessing as text: NAME[,key=value...]. A preset gives every field, keys replace some.
 *
 *   NAME         resize   crop     scale   mean                std                 order
 *   imagenet     256      224x224  255     .485 .456 .406      .229 .224 .225      rgb
 *   tensorflow   256      224x224  127.5   1                   1                   rgb
 *   caffe        256      227x227  1       104 117 123         1                   bgr
 *   cifar10      -        -        255     .485 .456 .406      .229 .224 .225      rgb
 *   mnist        -        -        255     .1307               .3081               gray
 *   none         -        -        1       0                   1                   rgb
 *
 *   size=S       S x S; size=H/W is height/width. With a preset that crops (the first three): crop
 *                to that, and unless resize= is given, resize the short side to max(H, W) times
 *                the preset's resize / crop, rounded (imagenet,size=128 resizes to 146). With a
 *                preset that does not crop: resize to exactly H x W; but with resize= given, crop
 *                to H x W. size=0: no crop; resize stays.
 *   resize=S     the short side becomes S, the other int(S * long / short), as in torchvision
 *   resize=H/W   exactly, whatever the aspect; resize=0: no resize
 *   scale=V      > 0
 *   mean=, std=  one value for all channels, or two to four joined by '/', by channel in `order`;
 *                those not given are 0 and 1. std > 0.
 *   order=       rgb, bgr or gray. A preset's own mean and std turn round with rgb <-> bgr; gray
 *                wants mean= and std= where the preset has one for each colour.
 *
 * The crop is centred; where the image is smaller, zeros surround it. Sides are 0 to 16384, keys
 * come in any order and once each, blanks are not allowed, the decimal point is '.' in every
 * locale. "" is the identity with name "" (a model without preprocessing). Anything else fails
 * with FB_E_ARG and *prep untouched. */
FB_API fb_status fb_prep_parse(const char *text, fb_prep *prep);

/* The shortest text that fb_prep_parse reads back to the same prep, field by field; at most `cap`
 * bytes with the NUL (512 always suffice). FB_E_ARG when it is longer or a field breaks the rules;
 * text is then "". */
FB_API fb_status fb_prep_format(const fb_prep *prep, char *text, size_t cap);

/* Fills what the text left open from the network's input: where the crop is still the preset's own,
 * it becomes height x width, and where the resize is, too, it becomes max(height, width) times the
 * preset's ratio, rounded. Presets without crop, and sizes that the text changed, stay. */
FB_API void fb_prep_fit(fb_prep *prep, uint32_t height, uint32_t width);

/* The network input that samples must fill: one sample is [height][width][channels] floats.
 * source_nchw says that arrays stored in files (npy) are [n][channels][height][width]. For an input
 * that is not an image, height = width = 1 and channels = elements (> 4); images are then laid out
 * [c][h][w] if source_nchw, else [h][w][c], and arrays as they are stored. At most 2^28 elements
 * a sample. */
typedef struct fb_sample_shape {
    uint32_t height, width, channels;
    bool source_nchw;
} fb_sample_shape;

typedef struct fb_data_options {
    fb_prep prep;
    fb_sample_shape shape;
    uint64_t limit;       /* at most so many samples, spread evenly over the set; 0 = all */
    uint32_t part, parts; /* of these the samples number part, part + parts, ...: sets that have no
                             sample in common. parts 0 or 1: all; else part < parts */
    uint32_t n_threads;   /* decoding threads beside the caller; 0 = one */
} fb_data_options;

/* Opens a data set. What a file is, its first bytes say, not its name (save .bin). `spec`:
 *   folder          class folders of JPEG/PNG (classes in byte order of their names are labels
 *                   0, 1, ...; one level; hidden names and other files are passed over; a class may
 *                   be empty), or, where no folder in it has an image, a folder of images without
 *                   labels
 *   list.txt        lines "path label" (label 0 to 999999; path relative to the list, or absolute,
 *                   blanks allowed; labels on all lines or none)
 *   *-images-idx*   IDX, plain or .gz, [n][h][w] or [n][h][w][c] u8; labels from the file whose
 *                   name has "labels" for "images" and "idx1" for "idx3"/"idx4" (with or without
 *                   .gz; none if there is no such file), or "images,labels"
 *   x.bin           CIFAR-10/100 binary (labels of CIFAR-100 are the fine ones), or a folder of
 *                   data_batch_*.bin, else train.bin, else test_batch.bin, else test.bin
 *   x.npy[,y.npy]   f2/f4/f8, integer or bool array [n]..., little-endian, C order; y integer
 *                   labels [n]; x.npz (stored or deflated, below 4 GiB) with members x and, for
 *                   labels, y
 *   a.jpg           one image
 *
 * What becomes of a sample:
 *   - image files are decoded to 8-bit RGB, then resized, cropped, reordered and normalised;
 *   - u8 arrays of 1 or 3 channels are images too (RGB), but those that have the network's height
 *     and width already are taken as prepared: not resized, not cropped. One channel feeds a
 *     network of one or, repeated, of three;
 *   - all other arrays must have the network's elements, in a shape that is its own (dimensions of
 *     1 do not count) or flat, and keep their channels as stored.
 * In the end every value, of images, u8 and floats alike, becomes (v / scale - mean) / std; with
 * the prep of name "" or "none" that is the value itself. Values that are not finite fail.
 *
 * Fails with FB_E_IO (path and reason) when something cannot be read, which includes any image file
 * that is missing; FB_E_FORMAT, FB_E_UNSUPPORTED, FB_E_LIMIT by content; FB_E_ARG when options and
 * data do not fit together, with both shapes. *out is then NULL. Limits: images 16384 a side, 64 Mi
 * pixels and 256 MiB of file; 2^31 - 1 samples; 4 GiB of unpacked gz or npz. Files must not change
 * while the set is open. */
FB_API fb_status fb_data_open(const char *spec, const fb_data_options *options, fb_data **out);
/* Waits for samples that are being decoded, no longer. NULL is fine; clears the pointer. */
FB_API void fb_data_close(fb_data **data);
FB_API uint64_t fb_data_count(const fb_data *data); /* samples that fb_data_next will give */
/* What samples the set was opened for; and FB_E_ARG, with both shapes, unless that is `shape`
 * (source_nchw does not count). */
FB_API void fb_data_shape(const fb_data *data, fb_sample_shape *shape);
FB_API fb_status fb_data_fits(const fb_data *data, const fb_sample_shape *shape);
FB_API bool fb_data_labelled(const fb_data *data);
/* Largest label of the whole set + 1, or the number of class folders; 0 without labels. */
FB_API uint32_t fb_data_n_classes(const fb_data *data);
FB_API const char *fb_data_class(const fb_data *data, uint32_t i); /* folder name, or NULL */
FB_API const char *fb_data_name(const fb_data *data, uint64_t i);  /* file name, or NULL */
/* Hex fingerprint (16 digits) of names, sizes and labels of the samples given (not of pixels);
 * stable across machines. */
FB_API const char *fb_data_fingerprint(const fb_data *data);

/* The next up to `max` samples in order, as floats after preprocessing; *got = 0 at the end.
 *   x       [max][height][width][channels]
 *   labels  [max], -1 where unknown; may be NULL
 * Samples ahead are decoded on the data set's own threads meanwhile: 32 MiB of them, or two for
 * each thread if that is more. A sample that cannot be read fails when its turn comes, with the
 * name of its file: those before it in the same call are given first, the next call fails with
 * *got = 0, and the call after that goes on behind it. One caller at a time. */
FB_API fb_status fb_data_next(fb_data *data, uint32_t max, float *x, int32_t *labels,
                              uint32_t *got);
FB_API void fb_data_rewind(fb_data *data); /* to the first sample */

#ifdef __cplusplus
}
#endif
#endif
