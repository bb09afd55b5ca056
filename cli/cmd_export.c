/* fewbit export: a model for other tools. */
#include "cli.h"
#include "out.h"

#include <stdio.h>

static int write_out(const arguments *args, const fb_model *model)
{
    uint64_t bytes;
    fb_status status = fb_onnx_export(model, args->output);
    if (status != FB_OK)
        return fail_status(status, args->output);
    int code = file_bytes(args->output, &bytes);
    if (code == EXIT_DONE && !args->quiet)
        fprintf(stderr, "wrote %s: %s bytes\n", args->output, show_count(bytes));
    if (code != EXIT_DONE || !args->json)
        return code;
    json_t *report = json_report("export");
    json_put(report, "input", json_text(args->files[0]));
    json_put(report, "output", json_text(args->output));
    json_put(report, "format", json_text(args->to));
    json_put(report, "bytes", json_integer((json_int_t)bytes));
    return json_emit(args, report);
}

static int run(const arguments *args)
{
    fb_model *model;
    if (!args->output)
        return fail(EXIT_USAGE, "export: say where to write with -o FILE");
    int code = check_output(args, NULL);
    if (code == EXIT_DONE)
        code = json_check(args);
    if (code != EXIT_DONE)
        return code;
    code = open_model(args->files[0], &model);
    if (code == EXIT_DONE && interrupted())
        code = fail(EXIT_INTERRUPTED, "interrupted; nothing was written");
    if (code == EXIT_DONE)
        code = write_out(args, model);
    fb_model_close(&model);
    return code;
}

const command cmd_export = {
    .name = "export",
    .operands = "MODEL",
    .min_files = 1,
    .max_files = 1,
    .summary = "write a model for other tools",
    .example = "fewbit export net.fewbit --to onnx -o net-q.onnx\n",
    .notes = "ONNX is written as QuantizeLinear and DequantizeLinear around float operators (QDQ,\n"
             "opset 13, channels first), which ONNX Runtime runs in integers.\n",
    .options = {OPT_TO, OPT_OUTPUT, OPT_FORCE, OPT_JSON, OPT_QUIET, OPT_END},
    .run = run,
};
