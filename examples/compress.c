/* Compresses an ONNX network to 8 bits: compress net.onnx images/ PREP net.fewbit
 *
 * PREP is the preprocessing as text, for example imagenet.
 *   cc compress.c $(pkg-config --cflags --libs fewbit-tools) -o compress
 */
#include <fewbit/compress.h>
#include <fewbit/data.h>
#include <fewbit/measure.h>
#include <fewbit/onnx.h>

#include <stdio.h>

static fb_status open_images(const char *spec, const char *prep, fb_model *model, fb_data **data)
{
    fb_data_options options = {.limit = 256};
    fb_status status = fb_model_sample_shape(model, &options.shape);
    if (status == FB_OK)
        status = fb_prep_parse(prep, &options.prep);
    if (status == FB_OK) {
        fb_prep_fit(&options.prep, options.shape.height, options.shape.width);
        status = fb_model_set_prep(model, &options.prep); /* travels in the file */
    }
    return status == FB_OK ? fb_data_open(spec, &options, data) : status;
}

int main(int argc, char **argv)
{
    fb_model *model = NULL, *small = NULL;
    fb_data *data = NULL;
    fb_compress_options options;
    uint64_t bytes = 0;
    if (argc != 5) {
        fprintf(stderr, "usage: compress net.onnx images/ PREP net.fewbit\n");
        return 2;
    }
    fb_status status = fb_onnx_import(argv[1], NULL, &model);
    if (status == FB_OK)
        status = open_images(argv[2], argv[3], model, &data);
    if (status == FB_OK) {
        fb_compress_options_default(&options);
        options.method = "int8";
        options.data = data;
        status = fb_compress(model, &options, &small);
    }
    if (status == FB_OK)
        status = fb_model_save(small, argv[4]);
    if (status == FB_OK)
        status = fb_model_file_bytes(small, &bytes);
    if (status == FB_OK)
        printf("%s: %llu bytes\n", argv[4], (unsigned long long)bytes);
    else
        fprintf(stderr, "compress: %s\n%s", fb_error(), fb_onnx_unsupported());
    fb_data_close(&data);
    fb_model_close(&small);
    fb_model_close(&model);
    return status == FB_OK ? 0 : 1;
}
