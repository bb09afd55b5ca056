/* The frozen plan: for each step its kernel, its packed weights, its tiles, its scratch; for each
 * tensor its place in memory. Built once (plan.c, memory.c and one op_*.c per operator), then only
 * read: the size query and the executor see the same fields.
 *
 * How a node becomes steps (plan.c):
 *   1. every activation that the node reads or writes is plain       -> the operator's row in
 *      ops_f32.inc prepares one step (it also serves plain integer tensors);
 *   2. some activation is encoded (affine)  -> the operator's row in ops_q.inc is asked; it may
 *      decline by leaving step->kernel NULL;
 *   3. it declined or has no row -> convert steps decode the inputs into f32 temporaries, the f32
 *      step runs, a convert step encodes the output. (The fused form is a matter of speed only.)
 * Activations that are packed, or levels, are not arrays that a step could read. Convert steps
 * unpack them whole, for 2. into codes in bytes (integer levels: the codes of their grid) and for
 * 3. into f32, and pack the output (node.c); or, where that would take memory, the step itself does
 * so, a band of rows at a time (band.c).
 */
#ifndef FB_PLAN_PLAN_H
#define FB_PLAN_PLAN_H

#include "fewbit/run.h"
#include "model/layout.h"
#include "model/model.h"
#include "model/shape.h"

/* Where a tensor lives while running. Slot i < n_tensors is model tensor i; further slots are
 * temporaries of the plan. */
typedef enum fb_place {
    FB_PLACE_NONE,  /* never materialised */
    FB_PLACE_CONST, /* data points at the payload (plain) */
    FB_PLACE_ARENA  /* offset into the run's workspace */
} fb_place;

typedef struct fb_slot {
    fb_place place;
    fb_shape shape; /* concrete; dtype is that of the *stored* elements (u8 for affine8u), or of
                       packed ones once unpacked */
    fb_layout lay;
    size_t elems, bytes;           /* those of lay */
    const fb_encoding *enc;        /* of the tensor; kind PLAIN for temporaries */
    const fb_tensor *tensor;       /* NULL for temporaries */
    int32_t alias_of;              /* slot whose memory this one is (reshape, reinterpret), or -1 */
    const void *data;              /* FB_PLACE_CONST */
    size_t offset;                 /* FB_PLACE_ARENA */
    int32_t first_step, last_step; /* life, as step numbers; inputs are born at -1, outputs die at
                                      n_steps */
} fb_slot;

struct fb_step;

/* What one tile of a step sees. Pointers are resolved; scratch belongs to this worker alone and is
 * step->scratch_bytes large, 64-byte aligned, content undefined. */
typedef struct fb_tile {
    const struct fb_step *step;
    const void *const *in; /* [step->n_in], NULL for an absent input */
    void *const *out;      /* [step->n_out] */
    void *scratch;
    uint32_t index;       /* 0 .. step->n_tiles - 1; tiles run in any order, on any thread */
    fb_saturations *over; /* this worker's, where step->counts; else NULL */
} fb_tile;

typedef struct fb_step {
    const fb_node *node; /* NULL for a step that the plan inserted */
    const char *name, *op;
    const char *kernel; /* symbol, for the profile; "alias" when there is nothing to do */
    uint32_t n_in, n_out;
    const int32_t *in, *out;          /* slots, -1 = absent */
    void (*run)(const fb_tile *tile); /* NULL only for aliases */
    uint32_t n_tiles;
    size_t scratch_bytes; /* per worker */
    const void *params;   /* the operator's own frozen struct, in the plan's arena */
    uint64_t macs;
    bool counts;     /* its tiles add to tile->over what did not fit */
    bool from_float; /* writes codes that were rounded from f32 results of an operator: another
                        order of its sums may give the next code */
} fb_step;

/* How layers on packed activations are computed; tests hold one against the other. */
typedef enum fb_form {
    FB_FORM_AUTO,  /* on whole tensors where there is room, else in bands */
    FB_FORM_WHOLE, /* unpack, the layer, pack: what bands are held against */
    FB_FORM_BAND   /* in bands wherever the operator has that form */
} fb_form;

struct fb_plan {
    const fb_model *model;
    fb_arena *arena; /* params, packed weights, names */
    uint32_t batch, cpu;
    bool keep_all;
    fb_tables tables;
    fb_form form;
    uint32_t band_rows; /* output rows of a band; 0 = chosen for each layer */
    size_t *live;       /* [nodes] bytes of activations alive at each; for plan/room.c */
    size_t most_live;
    fb_slot *slots;
    size_t n_slots, cap_slots;
    fb_step *steps;
    size_t n_steps, cap_steps;
    size_t arena_bytes;   /* workspace for slots */
    size_t scratch_bytes; /* largest of any step, per worker */
    size_t packed_bytes;  /* weights as packed */
};

/* What an operator's prepare function works with. It reads the node and its slots, and fills
 * step->kernel, run, n_tiles, scratch_bytes, params, macs (the rest is filled already). */
typedef struct fb_prepare {
    fb_plan *plan;
    const fb_node *node;
    const fb_slot *in[8]; /* first 8 inputs, NULL = absent; concat uses fb_prepare_input */
    const fb_slot *out[2];
    fb_step *step;
} fb_prepare;

typedef fb_status (*fb_prepare_fn)(fb_prepare *p);

const fb_slot *fb_prepare_input(const fb_prepare *p, uint32_t i);
/* Frozen memory of the plan, zeroed; NULL is out of memory (use FB_PLAN_ALLOC). Packed weights are
 * counted for fb_plan_packed_bytes. */
void *fb_plan_alloc(fb_plan *plan, size_t n, size_t elem_bytes);
void *fb_plan_alloc_packed(fb_plan *plan, size_t n, size_t elem_bytes);
fb_status fb_plan_no_memory(const fb_prepare *p);
/* Constant input decoded to f32 in heap memory (fb_free it): any dtype, any encoding. */
fb_status fb_prepare_decode(const fb_prepare *p, const fb_slot *slot, float **out);
/* Makes the step's output 0 share the memory of its input 0: nothing to run. */
void fb_prepare_alias(fb_prepare *p);
/* True when the plan may use these instruction sets. */
static inline bool fb_plan_may(const fb_plan *plan, uint32_t cpu)
{
    return (plan->cpu & cpu) == cpu;
}

/* Number of tiles and the range of tile `index` when `n` items are cut into pieces of `grain`. */
static inline uint32_t fb_tiles(size_t n, size_t grain)
{
    size_t tiles = (n + grain - 1) / grain;
    return tiles ? (uint32_t)tiles : 1;
}

/* fb_plan_create with a form and a height of bands of the caller's choice. */
fb_status fb_plan_create_form(const fb_model *model, const fb_plan_options *options, fb_form form,
                              uint32_t band_rows, fb_plan **out);

extern const fb_encoding fb_plan_plain; /* of temporaries that are not encoded */

/* A slot of `shape` stored as `enc` says, not placed yet. `name` is for the sentence. */
fb_status fb_plan_add_slot(fb_plan *plan, const fb_slot *slot, const char *name, int32_t *index);
fb_status fb_plan_add_node(fb_plan *plan, const fb_node *n); /* node.c: the steps of a node */
/* A slot with an encoded constant as plain f32, in the plan's memory. */
fb_status fb_plan_decode_const(fb_plan *plan, int32_t from, int32_t *index);
fb_status fb_plan_memory(fb_plan *plan); /* memory.c: offsets by liveness */

#endif
