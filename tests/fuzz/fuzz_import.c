/* Any bytes as an ONNX model: refused with a sentence, or a model that passes validation. Seeds:
 * the cases of libonnx-testdata (any folder of .onnx files) and tests/fuzz/corpus/import. */
#include "fewbit/onnx.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void once(const uint8_t *data, size_t size, const fb_onnx_options *options)
{
    fb_model *m = NULL;
    fb_status status = fb_onnx_import_memory(data, size, NULL, options, &m);
    if (status == FB_OK ? fb_model_validate(m) != FB_OK : (m != NULL || fb_error()[0] == '\0'))
        abort();
    if (status == FB_E_INTERNAL)
        abort();
    if ((status == FB_E_UNSUPPORTED) < (fb_onnx_unsupported()[0] != '\0'))
        abort();
    fb_model_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fb_onnx_options fixed = {.batch = 2, .keep_io_layout = true, .keep_names = true};
    once(data, size, NULL);
    once(data, size, &fixed);
    return 0;
}
