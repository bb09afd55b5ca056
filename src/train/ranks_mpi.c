/* Processes that talk by MPI. Its errors end all of them, with a message of its own. */
#include "train/ranks.h"

#include <mpi.h>
#include <stdlib.h>

static fb_ranks world = {.n = 1};
static bool started, lost;

/* Where one process has given up, waiting for it would last for ever. */
static void end(void)
{
    int over = 0;
    if (MPI_Finalized(&over) == MPI_SUCCESS && !over && !lost)
        (void)MPI_Finalize();
}

static void exchange(const fb_ranks *r, const void *from, void *to, size_t bytes)
{
    (void)r;
    (void)MPI_Alltoall(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

static void gather(const fb_ranks *r, const void *from, void *to, size_t bytes)
{
    (void)r;
    (void)MPI_Allgather(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

/* A program that set up MPI by itself also ends it. */
static fb_status start(void)
{
    int before = 0, level, n, own;
    const uint32_t told = fb_ranks_told(); /* MPI_Init may set what it reads */
    if (MPI_Initialized(&before) != MPI_SUCCESS)
        return fb_fail(FB_E_INTERNAL, "MPI cannot be asked whether it runs");
    if (!before && told <= 1)
        return FB_OK;
    if (!before && (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS ||
                    level < MPI_THREAD_FUNNELED || atexit(end) != 0))
        return fb_fail(FB_E_INTERNAL, "MPI cannot be set up");
    if (MPI_Comm_size(MPI_COMM_WORLD, &n) != MPI_SUCCESS ||
        MPI_Comm_rank(MPI_COMM_WORLD, &own) != MPI_SUCCESS)
        return fb_fail(FB_E_INTERNAL, "MPI does not tell which process this is");
    if (n == 1 && told > 1)
        return fb_fail(FB_E_UNSUPPORTED,
                       "started as one of %u processes, but MPI knows of one: another MPI started "
                       "it",
                       told);
    world =
        (fb_ranks){.n = (uint32_t)n, .own = (uint32_t)own, .exchange = exchange, .gather = gather};
    return FB_OK;
}

fb_status fb_ranks_start(const fb_ranks **out)
{
    *out = &world;
    fb_status status = started ? FB_OK : start();
    started = status == FB_OK;
    return status;
}

void fb_ranks_give_up(void)
{
    lost = true;
}

bool fb_ranks_built_in(void)
{
    return true;
}
