/* Whether a layer may unpack its activations as a whole. */
#ifndef FB_PLAN_ROOM_H
#define FB_PLAN_ROOM_H

#include "plan/codec.h"

/* Before any step is added: what is alive at each node of the model, and the most. */
fb_status fb_plan_find_room(fb_plan *plan);

/* True when the temporaries that node `n` needs to work on whole tensors, next to what is alive,
 * stay within what some other node needs anyway. */
bool fb_plan_has_room(const fb_plan *plan, const fb_node *n, fb_work work);

#endif
