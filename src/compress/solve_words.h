/* Codewords against a layer problem (compress/problem.h): J, summed over all channels of the layer,
 * is what every function here lowers, with the damping that the problem has. Results are the same
 * for any number of threads. */
#ifndef FB_COMPRESS_SOLVE_WORDS_H
#define FB_COMPRESS_SOLVE_WORDS_H

#include "compress/problem.h"
#include "compress/words.h"

enum { FB_EC_CODES = 1, FB_EC_WORDS = 2, FB_EC_ALL = 3 };

typedef struct fb_ec_options {
    uint32_t sweeps; /* at most; 0 only measures */
    unsigned moves;  /* FB_EC_... what may move, beside scales */
    double enough;   /* ends when a sweep takes less than this share off J */
    /* Called after every step that moved something; *w is as it is then. NULL: not. */
    void (*watch)(void *user);
    void *user;
} fb_ec_options;

/* Error correction (Q-CNN, Wu 2016; METHODS A.5, IV.2) in moment form: codebook by codebook, each
 * channel takes the best word for each of its vectors while all else stays (B-step), with two
 * stages of few words the best pair; then each codeword moves to the least-squares optimum of all
 * vectors that have it, those of several kernel positions in one channel exactly (D-step). A word
 * that no vector has takes over the vector that gains most from one of its own. With w->own_scales
 * each sweep begins with the scales' optimum. The gradient is kept in floats from step to step and
 * computed anew, in doubles, once a sweep. J never rises, but for rounding.
 *
 * Codebooks whose vectors have more than 1,024 columns (one for the layer; along the kernel) move
 * all at once at the end of a sweep, by conjugate gradients on all codewords.
 *
 * Books of their own for runs of channels must follow the problem's groups. Memory: two floats for
 * each weight beside *p and *w. error [2] = J before and after. */
fb_status fb_solve_ec(const fb_problem *p, fb_words *w, const fb_ec_options *options, fb_pool *pool,
                      double *error);

/* GPTVQ (van Baalen 2024; METHODS IV.3, V.4): vector after vector in the order of the columns takes
 * the word nearest in the metric ([G⁻¹]_JJ)⁻¹, its error is spread over the columns that are left,
 * from the part's target on. Channels whose J that does not lower keep their indices. Then each
 * codeword is fitted as in fb_solve_ec; `rounds` times. error [2] as above. */
fb_status fb_solve_gptvq(const fb_problem *p, fb_words *w, uint32_t rounds, fb_pool *pool,
                         double *error);

#endif
