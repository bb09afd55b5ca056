/* Progress on stderr, and the interrupt flag that it reads. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_interrupt(int number)
{
    (void)number;
    stop = 1;
}

void interrupt_setup(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL); /* from batch systems, containers, mpirun */
}

bool interrupted(void)
{
    return stop != 0;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void progress_init(progress *p, bool quiet)
{
    *p = (progress){.quiet = quiet, .tty = isatty(STDERR_FILENO) == 1, .percent = -1};
}

void progress_clear(progress *p)
{
    if (p->bar)
        fprintf(stderr, "\r\033[K");
    p->bar = false;
}

enum { BAR = 24 };
#define SECOND UINT64_C(1000000000)

static void draw_bar(progress *p, uint64_t done, uint64_t total, uint64_t now)
{
    char bar[BAR + 1];
    double part = total ? (double)done / (double)total : 0;
    for (int i = 0; i < BAR; i++)
        bar[i] = (double)i < part * BAR ? '#' : '.';
    bar[BAR] = '\0';
    double spent = (double)(now - p->start_ns) / SECOND;
    fprintf(stderr, "\r\033[K%s [%s] %llu/%llu", p->what, bar, (unsigned long long)done,
            (unsigned long long)total);
    if (done > 0 && spent > 0.5)
        fprintf(stderr, ", %.0f s left", spent / (double)done * (double)(total - done));
    p->bar = true;
    p->drawn_ns = now;
}

/* A phase that is over within five seconds says nothing to a log. */
static void log_line(progress *p, uint64_t done, uint64_t total, uint64_t now)
{
    int percent = total ? (int)(100.0 * (double)done / (double)total) : 0;
    if (percent / 10 <= p->percent / 10 || now - p->start_ns < 5 * SECOND)
        return;
    p->percent = percent;
    fprintf(stderr, "%s %d%%, %.0f s\n", p->what, percent, (double)(now - p->start_ns) / SECOND);
}

bool progress_show(void *user, const char *what, uint64_t done, uint64_t total)
{
    progress *p = user;
    if (interrupted()) {
        progress_clear(p);
        return false;
    }
    if (p->quiet)
        return true;
    uint64_t now = now_ns();
    if (strncmp(p->what, what, sizeof p->what - 1) != 0) {
        snprintf(p->what, sizeof p->what, "%s", what);
        p->start_ns = now;
        p->drawn_ns = 0;
        p->percent = 0;
    }
    if (!p->tty) {
        log_line(p, done, total, now);
    } else if (done >= total) {
        progress_clear(p);
    } else if (now - p->drawn_ns > SECOND / 10) {
        draw_bar(p, done, total, now);
    }
    return true;
}
