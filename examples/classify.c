/* Classifies one image with libfewbit alone: classify net.fewbit image.ppm
 *
 * The image is a binary PPM (P6) of the size that the network takes, or raw 32-bit floats, already
 * preprocessed, in the order of the input.
 *   cc classify.c $(pkg-config --cflags --libs fewbit) -o classify
 */
#include <fewbit/fewbit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what)
{
    fprintf(stderr, "classify: %s: %s\n", what, *fb_error() ? fb_error() : "failed");
    return 1;
}

/* Fills n floats from the pixels of a PPM: value = (pixel / scale - mean) / std. */
static int read_ppm(FILE *f, const fb_prep *prep, float *x, size_t n)
{
    size_t w, h;
    if (fscanf(f, "P6 %zu %zu 255", &w, &h) != 2 || fgetc(f) == EOF || w * h * 3 != n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int pixel = fgetc(f);
        size_t c = prep->order == FB_BGR ? 2 - i % 3 : i % 3;
        if (pixel == EOF)
            return -1;
        x[i - i % 3 + c] = ((float)pixel / prep->scale - prep->mean[c]) / prep->std[c];
    }
    return 0;
}

static int read_image(const char *path, const fb_prep *prep, float *x, size_t bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    int first = fgetc(f), second = fgetc(f), bad;
    rewind(f);
    if (first == 'P' && second == '6')
        bad = read_ppm(f, prep, x, bytes / sizeof *x);
    else
        bad = fread(x, 1, bytes, f) != bytes;
    fclose(f);
    return bad;
}

static void print_top(const fb_model *model, float *scores, size_t n)
{
    for (int k = 0; k < 5; k++) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            best = scores[i] > scores[best] ? i : best;
        const char *label = fb_model_label(model, (uint32_t)best);
        printf("%8.3f  %zu  %s\n", (double)scores[best], best, label ? label : "");
        scores[best] = -1e38f;
    }
}

static int classify(const fb_model *model, const char *image)
{
    fb_plan *plan = NULL;
    fb_run *run = NULL;
    size_t in_bytes, out_bytes;
    float *scores = NULL;
    int code = 1;
    if (fb_plan_create(model, NULL, &plan) != FB_OK || fb_run_create(plan, 1, &run) != FB_OK) {
        code = fail("cannot prepare the network");
        goto done;
    }
    float *x = fb_run_input(run, 0, &in_bytes);
    if (read_image(image, fb_model_prep(model), x, in_bytes) != 0) {
        fprintf(stderr, "classify: %s is no image of the network's size\n", image);
        goto done;
    }
    if (fb_run_execute(run) != FB_OK) {
        code = fail("cannot run the network");
        goto done;
    }
    const float *out = fb_run_output(run, 0, &out_bytes);
    scores = malloc(out_bytes);
    if (scores) {
        memcpy(scores, out, out_bytes);
        print_top(model, scores, out_bytes / sizeof *scores);
        code = 0;
    }
done:
    free(scores);
    fb_run_destroy(&run);
    fb_plan_destroy(&plan);
    return code;
}

int main(int argc, char **argv)
{
    fb_model *model;
    if (argc != 3) {
        fprintf(stderr, "usage: classify net.fewbit image.ppm\n");
        return 2;
    }
    if (fb_model_open(argv[1], &model) != FB_OK)
        return fail(argv[1]);
    int code = classify(model, argv[2]);
    fb_model_close(&model);
    return code;
}
