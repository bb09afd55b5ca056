/* fewbit: convolutional networks in few bits.
 *
 * Umbrella of libfewbit (load, plan, run). Every function that can fail returns an fb_status and
 * leaves one sentence about the failure in fb_error(). Nothing here prints, exits or keeps global
 * state beyond that sentence, which is per thread.
 */
#ifndef FEWBIT_FEWBIT_H
#define FEWBIT_FEWBIT_H

#include "fewbit/model.h"
#include "fewbit/run.h"
#include "fewbit/status.h"

#endif
