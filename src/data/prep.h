/* Inside the data room: what the readers need to know of a preprocessing. */
#ifndef FB_DATA_PREP_H
#define FB_DATA_PREP_H

#include "fewbit/data.h"

/* Longest side that text may ask for, and longest side of an image that is decoded. */
#define FB_DATA_MAX_SIDE 16384u

/* FB_E_ARG with a sentence when a field breaks the rules of fb_prep. */
fb_status fb_data_prep_check(const fb_prep *prep);

/* Name "" and values that leave pixels as they are. */
void fb_data_prep_identity(fb_prep *prep);

/* One mean and one std for all channels. */
bool fb_data_prep_uniform(const fb_prep *prep);

#endif
