/* A build without MPI: every process trains alone. */
#include "train/ranks.h"

fb_status fb_ranks_start(const fb_ranks **out)
{
    static const fb_ranks alone = {.n = 1};
    *out = &alone;
    if (fb_ranks_told() > 1)
        return fb_fail(FB_E_UNSUPPORTED,
                       "started as one of %u processes, but this fewbit was built without MPI",
                       fb_ranks_told());
    return FB_OK;
}

void fb_ranks_give_up(void)
{
}

bool fb_ranks_built_in(void)
{
    return false;
}
