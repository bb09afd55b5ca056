/* The half of tests/cli/test_ort.sh that is written in C: fewbit's side of a comparison with ONNX
 * Runtime. `test_export VERB ...` does one of
 *
 *   input MODEL.fewbit DATA N INPUT.raw        N images as the ONNX file wants them
 *   tap EXPORT.onnx TAPPED.onnx                the same network with all codes as graph outputs
 *   shift MODEL.fewbit OUT.fewbit              zero points and bits as the compressor seldom has
 * them compare MODEL INPUT.raw ORT.json TOLERANCE fewbit's run against the outputs that ort.mjs
 * wrote
 */
#ifndef TESTS_ORT_PEER_H
#define TESTS_ORT_PEER_H

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fewbit/data.h"
#include "fewbit/measure.h"
#include "fewbit/onnx.h"
#include "fewbit/run.h"

#include "model/model.h"

#include "onnx.pb-c.h"

static void peer_must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "test_export: %s: %s\n", what, fb_error());
    exit(2);
}

static void *peer_read(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    peer_must(f && fseek(f, 0, SEEK_END) == 0, path);
    long size = ftell(f);
    peer_must(size >= 0 && fseek(f, 0, SEEK_SET) == 0, path);
    uint8_t *data = malloc((size_t)size + 1);
    peer_must(data && fread(data, 1, (size_t)size, f) == (size_t)size, path);
    (void)fclose(f);
    *bytes = (size_t)size;
    return data;
}

static void peer_write(const char *path, const void *a, size_t na, const void *b, size_t nb)
{
    FILE *f = fopen(path, "wb");
    peer_must(f && fwrite(a, 1, na, f) == na && fwrite(b, 1, nb, f) == nb, path);
    peer_must(fclose(f) == 0, path);
}

/* [n][h][w][c] to [n][c][h][w] or back, elements of `size` bytes. */
static void peer_move(const void *from, void *to, const int64_t d[4], size_t size, bool back)
{
    size_t plane = (size_t)(d[1] * d[2]), c = (size_t)d[3];
    for (size_t n = 0; n < (size_t)d[0]; n++) {
        for (size_t p = 0; p < plane; p++) {
            for (size_t k = 0; k < c; k++) {
                size_t last = ((n * plane + p) * c + k) * size;
                size_t first = ((n * c + k) * plane + p) * size;
                memcpy((char *)to + (back ? last : first),
                       (const char *)from + (back ? first : last), size);
            }
        }
    }
}

static void peer_input(const char *model, const char *spec, uint32_t n, const char *path)
{
    fb_model *m;
    fb_data *data;
    fb_tensor_info info;
    fb_data_options o = {.limit = n};
    uint32_t got;
    peer_must(fb_open_any(model, &m) == FB_OK, model);
    o.prep = *fb_model_prep(m);
    peer_must(fb_model_sample_shape(m, &o.shape) == FB_OK, model);
    peer_must(fb_model_tensor(m, (uint32_t)fb_model_input(m, 0), &info) == FB_OK, model);
    peer_must(fb_data_open(spec, &o, &data) == FB_OK, spec);
    int64_t d[4] = {n, o.shape.height, o.shape.width, o.shape.channels};
    size_t elems = (size_t)(d[0] * d[1] * d[2] * d[3]);
    float *x = malloc(2 * elems * sizeof *x);
    peer_must(x != NULL, "no memory");
    peer_must(fb_data_next(data, n, x, NULL, &got) == FB_OK && got == n, spec);
    bool move = info.source_nchw && info.rank == 4;
    if (move)
        peer_move(x, x + elems, d, sizeof *x, false);
    peer_write(path, move ? x + elems : x, elems * sizeof *x, NULL, 0);
    free(x);
    fb_data_close(&data);
    fb_model_close(&m);
}

/* Moves the zero points of layers with a fused clamp off the end of their codes, and every other
 * one to 7 bits: what the compressor seldom does, but a model may say. */
static void peer_shift(fb_model *m)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->n_nodes; i++) {
        const fb_node *n = &m->nodes[i];
        const fb_act *act = n->op == FB_OP_CONV     ? &n->attr.conv.act
                            : n->op == FB_OP_BINARY ? &n->attr.binary.act
                                                    : NULL;
        fb_encoding *e = &m->tensors[n->out[0]].enc;
        if (!act || !act->clamp || e->kind != FB_ENC_AFFINE || !e->zero)
            continue;
        e->zero[0] += 19;
        if (count++ % 2 == 0)
            e->bits = 7;
    }
}

static void peer_shift_file(const char *from, const char *to)
{
    fb_model *m;
    peer_must(fb_open_any(from, &m) == FB_OK, from);
    peer_shift(m);
    peer_must(fb_model_save(m, to) == FB_OK, to);
    fb_model_close(&m);
}

/* Messages of protobuf merge when they are concatenated: a second graph that has nothing but
 * outputs, behind the file's own bytes, adds outputs to it. */
static void peer_tap(const char *from, const char *to)
{
    size_t bytes, n = 0;
    uint8_t *file = peer_read(from, &bytes);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, bytes, file);
    peer_must(m && m->graph, from);
    Onnx__ModelProto more = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__ValueInfoProto *infos = calloc(m->graph->n_node, sizeof *infos);
    graph.output = calloc(m->graph->n_node, sizeof *graph.output);
    peer_must(infos && graph.output, "no memory");
    for (size_t i = 0; i < m->graph->n_node; i++) {
        const Onnx__NodeProto *node = m->graph->node[i];
        if (strcmp(node->op_type, "QuantizeLinear") != 0)
            continue;
        onnx__value_info_proto__init(&infos[n]);
        infos[n].name = node->output[0];
        graph.output[n] = &infos[n];
        n++;
    }
    graph.n_output = n;
    more.graph = &graph;
    uint8_t *tail = malloc(onnx__model_proto__get_packed_size(&more) + 1);
    peer_must(tail != NULL, "no memory");
    peer_write(to, file, bytes, tail, onnx__model_proto__pack(&more, tail));
    free(tail);
    free(graph.output);
    free(infos);
    onnx__model_proto__free_unpacked(m, NULL);
    free(file);
}

typedef struct peer_sum {
    uint32_t tensors, wrong; /* of codes: compared, different somewhere, */
    uint32_t lost;           /*   not found here */
    uint64_t elems, differ;
    char first[160]; /* first tensor that differs */
    double worst;    /* of float outputs: max |a - b| / max |b| */
    uint64_t bits;   /* of float outputs: elements that are not equal to the bit */
    uint32_t outputs;
} peer_sum;

static uint64_t peer_unequal(const uint8_t *a, const uint8_t *b, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += a[i] != b[i];
    return count;
}

/* The tensor that the exporter calls "<name>..<number>": its own name, or its layer's. */
static int32_t peer_tensor(const fb_model *m, const char *name)
{
    const char *dots = strrchr(name, '.');
    size_t length = dots && dots > name ? (size_t)(dots - 1 - name) : 0;
    for (uint32_t t = 0; t < fb_model_n_tensors(m); t++) {
        fb_tensor_info info;
        peer_must(fb_model_tensor(m, t, &info) == FB_OK, "tensor");
        if (length && strlen(info.name) == length && strncmp(info.name, name, length) == 0 &&
            !info.is_const && strncmp(info.encoding, "f32", 3) != 0)
            return (int32_t)t;
    }
    for (uint32_t i = 0; i < fb_model_n_layers(m); i++) {
        fb_layer_info info;
        peer_must(fb_model_layer(m, i, &info) == FB_OK, "layer");
        if (strlen(info.name) == length && strncmp(info.name, name, length) == 0)
            return info.out[0];
    }
    return -1;
}

/* One byte for each code of 8 bits or fewer, packed or not; malloc'd. */
static uint8_t *peer_bytes(const fb_view *v)
{
    uint8_t *codes = malloc(v->n_elems);
    float *values = malloc(v->n_elems * sizeof *values);
    peer_must(codes && values, "no memory");
    fb_view_read(v, 0, v->n_elems, values);
    for (size_t i = 0; i < v->n_elems; i++)
        codes[i] = (uint8_t)(lrintf(values[i] / v->scale) + v->zero);
    free(values);
    return codes;
}

/* Elements of `theirs` that differ from tensor `t`, in whichever order of axes fits better; some
 * tensors have codes in both. UINT64_MAX when they cannot be compared. */
static uint64_t peer_codes(const fb_run *run, int32_t t, const uint8_t *theirs, size_t bytes)
{
    fb_view v;
    if (t < 0 || fb_run_tensor(run, t, &v) != FB_OK || v.n_elems != bytes ||
        (v.dtype != FB_U8 && v.dtype != FB_S8))
        return UINT64_MAX;
    uint8_t *ours = peer_bytes(&v);
    uint64_t differ = peer_unequal(ours, theirs, bytes);
    if (differ && v.rank == 4) {
        uint8_t *moved = malloc(bytes);
        peer_must(moved != NULL, "no memory");
        peer_move(theirs, moved, v.dims, 1, true);
        uint64_t other = peer_unequal(ours, moved, bytes);
        differ = other < differ ? other : differ;
        free(moved);
    }
    free(ours);
    return differ;
}

/* Adds up what was found: best[t] is the least difference seen for tensor t (a layer whose clamp
 * stands behind its quantiser has codes before and after it). */
static void peer_count(const fb_run *run, const fb_model *m, const uint64_t *best, peer_sum *sum)
{
    for (uint32_t t = 0; t < fb_model_n_tensors(m); t++) {
        fb_tensor_info info;
        fb_view v;
        peer_must(fb_model_tensor(m, t, &info) == FB_OK, "tensor");
        if (info.is_const || fb_run_tensor(run, (int32_t)t, &v) != FB_OK ||
            (v.dtype != FB_U8 && v.dtype != FB_S8))
            continue;
        if (best[t] == UINT64_MAX) {
            sum->lost++;
            continue;
        }
        sum->tensors++;
        sum->elems += v.n_elems;
        sum->differ += best[t];
        if (best[t] && !sum->wrong++)
            (void)snprintf(sum->first, sizeof sum->first, "tensor %u %s (%llu of %zu)", t,
                           info.name, (unsigned long long)best[t], v.n_elems);
    }
}

static void peer_floats(const fb_view *v, const float *theirs, peer_sum *sum)
{
    double off = 0, most = 0;
    for (size_t i = 0; i < v->n_elems; i++) {
        float a;
        if (v->dtype == FB_F32)
            a = ((const float *)v->data)[i];
        else
            a = (float)((v->dtype == FB_S8 ? (int32_t)((const int8_t *)v->data)[i]
                                           : (int32_t)((const uint8_t *)v->data)[i]) -
                        v->zero) *
                v->scale;
        double gap = fabs((double)a - (double)theirs[i]);
        off = gap <= off ? off : gap; /* a NaN stays */
        most = fmax(most, fabs((double)theirs[i]));
        sum->bits += memcmp(&a, &theirs[i], sizeof a) != 0;
    }
    double relative = off / fmax(most, 1e-30);
    sum->worst = relative <= sum->worst ? sum->worst : relative;
    sum->outputs++;
}

static int peer_compare(const char *model, const char *input, const char *list, double tolerance)
{
    fb_model *m;
    fb_plan *plan;
    fb_run *run;
    fb_tensor_info in;
    fb_plan_options o;
    json_error_t error;
    size_t bytes, want, sample = sizeof(float);
    peer_sum sum = {0};
    peer_must(fb_open_any(model, &m) == FB_OK, model);
    peer_must(fb_model_tensor(m, (uint32_t)fb_model_input(m, 0), &in) == FB_OK, model);
    for (uint32_t i = 1; i < in.rank; i++)
        sample *= (size_t)in.dims[i];
    void *x = peer_read(input, &bytes);
    fb_plan_options_default(&o);
    o.batch = (uint32_t)(bytes / sample);
    o.keep_all = true;
    peer_must(fb_plan_create(m, &o, &plan) == FB_OK, "plan");
    peer_must(fb_run_create(plan, 1, &run) == FB_OK, "run");
    void *to = fb_run_input(run, 0, &want);
    peer_must(want == bytes, input);
    if (in.source_nchw && in.rank == 4)
        peer_move(x, to, (int64_t[]){o.batch, in.dims[1], in.dims[2], in.dims[3]}, sizeof(float),
                  true);
    else
        memcpy(to, x, bytes);
    peer_must(fb_run_execute(run) == FB_OK, "run");

    uint64_t *best = malloc(fb_model_n_tensors(m) * sizeof *best);
    peer_must(best != NULL, "no memory");
    memset(best, 0xff, fb_model_n_tensors(m) * sizeof *best);
    json_t *report = json_load_file(list, 0, &error), *item;
    size_t i;
    peer_must(report != NULL, list);
    json_array_foreach(json_object_get(report, "outputs"), i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *type = json_string_value(json_object_get(item, "type"));
        void *theirs = peer_read(json_string_value(json_object_get(item, "file")), &bytes);
        if (strcmp(type, "float32") != 0) {
            int32_t t = peer_tensor(m, name);
            uint64_t differ = peer_codes(run, t, theirs, bytes);
            if (differ < UINT64_MAX && differ < best[t])
                best[t] = differ;
        } else if (i < fb_model_n_outputs(m)) {
            fb_view v;
            peer_must(fb_run_tensor(run, fb_model_output(m, (uint32_t)i), &v) == FB_OK, name);
            peer_must(v.n_elems * sizeof(float) == bytes, "output");
            peer_floats(&v, theirs, &sum);
        }
        free(theirs);
    }
    if (json_array_size(json_object_get(report, "outputs")) > sum.outputs)
        peer_count(run, m, best, &sum);
    free(best);
    /* Nearly all codes must have been found, or the comparison says little. */
    bool good = 10 * sum.lost <= sum.tensors && sum.outputs == fb_model_n_outputs(m) &&
                sum.worst <= tolerance && !sum.differ;
    printf("max relative difference %.3g, %llu floats not equal to the bit", sum.worst,
           (unsigned long long)sum.bits);
    if (sum.tensors)
        printf("; codes: %u tensors (%u not found), %llu elements, %llu differ in %u tensors",
               sum.tensors, sum.lost, (unsigned long long)sum.elems, (unsigned long long)sum.differ,
               sum.wrong);
    printf("%s%s\n", sum.wrong ? ", first in " : "", sum.first);
    json_decref(report);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    fb_model_close(&m);
    free(x);
    return good ? 0 : 1;
}

static int peer_main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "input") == 0)
        peer_input(argv[2], argv[3], (uint32_t)strtoul(argv[4], NULL, 10), argv[5]);
    else if (argc == 4 && strcmp(argv[1], "tap") == 0)
        peer_tap(argv[2], argv[3]);
    else if (argc == 4 && strcmp(argv[1], "shift") == 0)
        peer_shift_file(argv[2], argv[3]);
    else if (argc == 6 && strcmp(argv[1], "compare") == 0)
        return peer_compare(argv[2], argv[3], argv[4], strtod(argv[5], NULL));
    else
        return 2;
    return 0;
}

#endif
