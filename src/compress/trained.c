/* Methods that train, as text: weights that come to share values while the network learns (paper B;
 * METHODS B, T.4). src/train does them; here are their names and options, which a chain is read
 * with whether training was built or not. */
#include "compress/method.h"

#define BITS(limit, value)                                                                         \
    {                                                                                              \
        .key = "bits", .kind = FB_OPTION_WHOLE, .least = 2, .most = limit, .preset = value,        \
        .meaning = "of a weight"                                                                   \
    }

#define VALUES(what)                                                                               \
    {                                                                                              \
        .key = "values", .kind = FB_OPTION_WHOLE, .least = 2, .most = 256,                         \
        .meaning = "different weights of a layer, at most; " what                                  \
    }

#define STEPS(value, what)                                                                         \
    {.key = "steps",                                                                               \
     .kind = FB_OPTION_WHOLE,                                                                      \
     .least = 1,                                                                                   \
     .most = 32,                                                                                   \
     .preset = value,                                                                              \
     .meaning = "each freezes a share of the weights, then the others learn on"},                  \
    {                                                                                              \
        .key = "shares", .kind = FB_OPTION_TEXT,                                                   \
        .meaning = "percent frozen after each step, in place of steps=, as in " what               \
    }

#define EPOCHS(value, what)                                                                        \
    {                                                                                              \
        .key = "epochs", .kind = FB_OPTION_WHOLE, .least = 1, .most = 10000, .preset = value,      \
        .meaning = what                                                                            \
    }

#define FIT                                                                                        \
    {                                                                                              \
        .key = "fit", .kind = FB_OPTION_CHOICE, .choices = "exact|lloyd", .preset = "exact",       \
        .meaning =                                                                                 \
            "values of the least squared error beside those that are frozen, or ten rounds "       \
            "of Lloyd's iteration from powers of two"                                              \
    }

#define LEVELS                                                                                     \
    {                                                                                              \
        .key = "levels", .kind = FB_OPTION_CHOICE, .choices = "fixed|float", .preset = "fixed",    \
        .meaning =                                                                                 \
            "values are integers of 8 bits times a scale, as integer kernels want them, or "       \
            "not"                                                                                  \
    }

#define PARTITION                                                                                  \
    {                                                                                              \
        .key = "partition", .kind = FB_OPTION_CHOICE, .choices = "loss|magnitude",                 \
        .preset = "loss",                                                                          \
        .meaning = "in each layer, what freezes first: clusters of the largest squared error or "  \
                   "of the largest value"                                                          \
    }

#define CHANNELS(value)                                                                            \
    {                                                                                              \
        .key = "channels", .kind = FB_OPTION_CHOICE, .choices = "scale|none", .preset = value,     \
        .meaning = "weights share values in units of their output channel's size, or as they are"  \
    }

#define INCLUDE_EXCLUDE                                                                            \
    {.key = "include",                                                                             \
     .kind = FB_OPTION_TEXT,                                                                       \
     .meaning = "only layers with these names; * and ? stand for any, | separates"},               \
    {                                                                                              \
        .key = "exclude", .kind = FB_OPTION_TEXT, .meaning = "layers that stay float"              \
    }

const fb_method_def fb_method_slq = {
    .name = "slq",
    .summary = "weights come to share values, cluster after cluster, while the others learn",
    .trains = true,
    .n_options = 11,
    .options = {BITS(8, "5"), VALUES("2^(bits-1) + 1 where not given"),
                STEPS("5", "30/55/75/90/100"), EPOCHS("4", "of learning behind each step"),
                PARTITION, FIT, LEVELS, CHANNELS("scale"), INCLUDE_EXCLUDE},
};

const fb_method_def fb_method_eslq = {
    .name = "eslq",
    .summary = "slq with 0 and powers of two",
    .trains = true,
    .n_options = 10,
    .options = {BITS(5, "5"), VALUES("2^(bits-1) + 1 where not given"),
                STEPS("5", "30/55/75/90/100"), EPOCHS("4", "of learning behind each step"),
                PARTITION, FIT, CHANNELS("scale"), INCLUDE_EXCLUDE},
};

const fb_method_def fb_method_mlq = {
    .name = "mlq",
    .summary = "weights of 2 to 4 bits come to share values, layer after layer, while the others "
               "learn",
    .trains = true,
    .n_options = 11,
    .options = {BITS(4, "2"),
                VALUES("2^bits where not given; 3 is ternary"),
                STEPS("5", "50/75/88/94/100"),
                EPOCHS("4", "of learning behind each step"),
                {.key = "partition",
                 .kind = FB_OPTION_CHOICE,
                 .choices = "layer|cluster",
                 .preset = "layer",
                 .meaning = "of the whole network, what freezes first: the layers of the largest "
                            "relative error, or their clusters"},
                FIT,
                LEVELS,
                CHANNELS("scale"),
                INCLUDE_EXCLUDE},
};

const fb_method_def fb_method_inq = {
    .name = "inq",
    .summary = "weights become powers of two, the largest first, while the others learn",
    .trains = true,
    .n_options = 7,
    .options = {BITS(5, "5"), STEPS("4", "30/60/80/100"),
                EPOCHS("4", "of learning behind each step"), CHANNELS("none"), INCLUDE_EXCLUDE},
};

const fb_method_def fb_method_twn = {
    .name = "twn",
    .summary = "weights learn as -a, 0, a",
    .trains = true,
    .n_options = 5,
    .options = {{.key = "fit",
                 .kind = FB_OPTION_CHOICE,
                 .choices = "twn|exact",
                 .preset = "twn",
                 .meaning = "0 below 0.7 of the mean size, or a of the least squared error"},
                EPOCHS("20", "of learning"),
                CHANNELS("none"),
                INCLUDE_EXCLUDE},
};

const fb_method_def fb_method_ttq = {
    .name = "ttq",
    .summary = "weights learn as -n, 0, p, and n and p are learned, too",
    .trains = true,
    .n_options = 5,
    .options = {{.key = "threshold",
                 .kind = FB_OPTION_NUMBER,
                 .least = 0,
                 .most = 0.9,
                 .preset = "0.05",
                 .meaning = "part of the largest size below which a weight is 0"},
                EPOCHS("20", "of learning"),
                CHANNELS("none"),
                INCLUDE_EXCLUDE},
};
