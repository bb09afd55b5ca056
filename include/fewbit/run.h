/* Running a model: a plan decided once and frozen, and runs over it. */
#ifndef FEWBIT_RUN_H
#define FEWBIT_RUN_H

#include "fewbit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fb_plan fb_plan;
typedef struct fb_run fb_run;

/* Instruction sets that kernels may use, as bits. */
#define FB_CPU_AVX2 1u /* with FMA */
#define FB_CPU_NEON 2u
#define FB_CPU_VNNI 4u /* with AVX-512VL */
#define FB_CPU_VBMI 8u /* with AVX-512BW and all of FB_CPU_VNNI */
#define FB_CPU_ALL  0xffffffffu

/* What this CPU and operating system can use, less what FEWBIT_CPU in the environment forbids. */
FB_API uint32_t fb_cpu_usable(void);
/* Parses "ref", "avx2", "neon", "all" or a comma-separated list into a mask. */
FB_API fb_status fb_cpu_parse(const char *text, uint32_t *mask);

/* The kernels in this binary, family by family, reference first. */
typedef struct fb_kernel_info {
    const char *name;
    const char *family;
    uint32_t cpu; /* FB_CPU_... bits it needs; 0 = reference */
} fb_kernel_info;
FB_API uint32_t fb_n_kernels(void);
FB_API fb_status fb_kernel(uint32_t i, fb_kernel_info *info);
FB_API const char *fb_cpu_name(uint32_t bit); /* "ref" for 0, "avx2", "neon"; "?" else */

/* How a layer is computed whose weights are codewords with tables (product encoding). */
typedef enum fb_tables {
    FB_TABLES_LOOKUP, /* by look-up, where the layer's input and codewords allow it */
    FB_TABLES_DECODE  /* on the decoded weights; docs/NUMERICS.md bounds the difference */
} fb_tables;

typedef struct fb_plan_options {
    uint32_t batch; /* >= 1 */
    uint32_t cpu;   /* mask; 0 = reference kernels only */
    bool keep_all;  /* no tensor shares memory with another, so that every one can be read after
                       a run (fb_run_tensor); costs memory */
    fb_tables tables;
} fb_plan_options;

FB_API void fb_plan_options_default(fb_plan_options *options); /* batch 1, all usable, false */

/* Chooses kernels, packs weights, lays out memory. `model` must outlive the plan. */
FB_API fb_status fb_plan_create(const fb_model *model, const fb_plan_options *options,
                                fb_plan **out);
FB_API void fb_plan_destroy(fb_plan **plan);
FB_API uint64_t fb_plan_workspace_bytes(const fb_plan *plan); /* activations, one run */
FB_API uint64_t fb_plan_packed_bytes(const fb_plan *plan);    /* weights as packed for kernels */

typedef struct fb_step_info {
    const char *name; /* of the layer */
    const char *op;
    const char *kernel; /* symbol that runs it, or "alias" where nothing has to be done */
    uint64_t macs;      /* for the plan's whole batch */
    int32_t out;        /* tensor index of its first output, -1 if it has none in the model */
} fb_step_info;

FB_API uint32_t fb_plan_n_steps(const fb_plan *plan);
FB_API fb_status fb_plan_step(const fb_plan *plan, uint32_t i, fb_step_info *info);

/* A workspace and its threads. Several runs may share a plan; one run serves one caller at a time.
 * n_threads 0 = all cores. */
FB_API fb_status fb_run_create(const fb_plan *plan, uint32_t n_threads, fb_run **out);
FB_API void fb_run_destroy(fb_run **run);

/* Buffers of the i-th input and output: row-major, stored as fb_run_tensor reports. Valid for the
 * life of the run; outputs are overwritten by the next fb_run_execute. NULL out of range. */
FB_API void *fb_run_input(fb_run *run, uint32_t i, size_t *bytes);
FB_API const void *fb_run_output(const fb_run *run, uint32_t i, size_t *bytes);

/* Elements [from, from + n) of the i-th input, which holds f32 or codes, encoded as it is: a value
 * becomes the code of the nearest one, ties to the even code (affine) or the lower level. FB_E_ARG
 * outside the input or for other types. */
FB_API fb_status fb_run_write(fb_run *run, uint32_t i, size_t from, size_t n, const float *x);

/* One inference. Allocates nothing. */
FB_API fb_status fb_run_execute(fb_run *run);

/* One tensor after (or, from a tap, during) a run, by model tensor index. A tensor that a fusion
 * removed or whose memory was reused gives FB_E_ARG. fb_view_read decodes it. */
typedef struct fb_view {
    const void *data;
    size_t bytes;   /* at data */
    fb_dtype dtype; /* of the stored elements: u8 for an 8-bit affine activation */
    uint32_t rank;
    int64_t dims[FB_MAX_RANK]; /* concrete */
    size_t n_elems;
    float scale;  /* value = scale * (stored - zero) for quantised tensors, */
    int32_t zero; /*   else 1 and 0 */
    /* Codes of other widths than dtype's are packed: packed_bits bits each, least significant
     * first, every row_elems elements from a whole byte on (row_bytes apart); dtype is then the
     * type of an unpacked code. Arrays have packed_bits 0. */
    uint32_t packed_bits;
    size_t row_elems, row_bytes;
    /* Not NULL: value = scale * (level[stored] - zero). */
    const float *level;
    uint32_t n_levels;
} fb_view;
FB_API fb_status fb_run_tensor(const fb_run *run, int32_t tensor, fb_view *view);

/* Elements [from, from + n) of a view as floats: what they stand for. They must lie within it. */
FB_API void fb_view_read(const fb_view *view, size_t from, size_t n, float *out);

/* Called after each step of fb_run_execute, on the calling thread; returning anything but FB_OK
 * ends the run with that status. NULL removes it. */
typedef fb_status (*fb_tap)(void *user, const fb_run *run, uint32_t step);
FB_API void fb_run_set_tap(fb_run *run, fb_tap tap, void *user);

/* Nanoseconds of each step of the last run, when `times` [fb_plan_n_steps] was set before it; NULL
 * stops the measuring. Borrowed. */
FB_API void fb_run_set_times(fb_run *run, uint64_t *times);

/* What did not fit in a layer in fixed point (its outputs are counted, whatever the threads), since
 * the run was created or the counters were reset. All 0 for any other step. */
typedef struct fb_saturations {
    uint64_t sums;    /* outputs whose accumulator left its range: after some product, where it
                         saturates there, else in the end */
    uint64_t outputs; /* outputs that were clamped at an end of the range of codes which no
                         activation function had set */
    uint64_t of;      /* outputs computed */
} fb_saturations;
FB_API fb_status fb_run_saturations(const fb_run *run, uint32_t step, fb_saturations *out);
FB_API void fb_run_reset_saturations(fb_run *run);

#ifdef __cplusplus
}
#endif
#endif
