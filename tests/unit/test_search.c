/* The search keeps its bounds, goes on where it stopped and says what it did; the pieces it is made
 * of: costs and texts of choices, the journal, data sets in parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fewbit/search.h"
#include "search/journal.h"
#include "search/settings.h"
#include "unit/compress_net.h"

#include <sys/stat.h>

static const char *images;
static fb_data *calibrate, *judge;
static fb_model *net;
static char folder[64];

static fb_data *part_of(uint32_t part, uint32_t parts)
{
    fb_data *d;
    fb_data_options o = {
        .shape = {.height = 12, .width = 12, .channels = 3}, .part = part, .parts = parts};
    net_ok(fb_data_open(images, &o, &d));
    return d;
}

static int open_all(void **state)
{
    (void)state;
    images = net_write_images();
    calibrate = part_of(0, 2);
    judge = part_of(1, 2);
    net = net_build(false);
    (void)snprintf(folder, sizeof folder, "/tmp/fewbit_search_%d", (int)getpid());
    return mkdir(folder, 0700);
}

static void remove_file(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)unlink(path);
}

static int close_all(void **state)
{
    (void)state;
    fb_data_close(&calibrate);
    fb_data_close(&judge);
    fb_model_close(&net);
    remove_file("trials.txt");
    remove_file("layers.txt");
    for (int i = 1; i <= 25; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d.fewbit", i);
        remove_file(name);
    }
    return rmdir(folder) | unlink(images);
}

static fb_search_options options(void)
{
    return (fb_search_options){.calibrate = calibrate,
                               .judge = judge,
                               .max_drop = 0.3,
                               .n_threads = 2,
                               .cpu = fb_cpu_usable()};
}

/* --- data sets in parts ---------------------------------------------------------------------- */

static void parts_have_nothing_in_common(void **state)
{
    (void)state;
    static float x[NET_ELEMS], all[NET_IMAGES][NET_ELEMS];
    fb_data *whole = net_data(images);
    uint32_t got;
    for (uint32_t i = 0; i < NET_IMAGES; i++)
        net_ok(fb_data_next(whole, 1, all[i], NULL, &got));
    uint64_t seen = 0;
    for (uint32_t part = 0; part < 5; part++) {
        fb_data *d = part_of(part, 5);
        for (uint32_t i = part; i < NET_IMAGES; i += 5, seen++) {
            net_ok(fb_data_next(d, 1, x, NULL, &got));
            assert_int_equal(got, 1);
            assert_memory_equal(x, all[i], sizeof x);
        }
        net_ok(fb_data_next(d, 1, x, NULL, &got));
        assert_int_equal(got, 0);
        fb_data_close(&d);
    }
    assert_int_equal(seen, NET_IMAGES);
    assert_string_not_equal(fb_data_fingerprint(calibrate), fb_data_fingerprint(judge));
    fb_data *none;
    fb_data_options o = {
        .shape = {.height = 12, .width = 12, .channels = 3}, .limit = 3, .part = 3, .parts = 4};
    assert_int_equal(fb_data_open(images, &o, &none), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "none for part 4 of 4"));
    fb_data_close(&whole);
}

/* --- choices --------------------------------------------------------------------------------- */

static void choices_say_what_they_cost(void **state)
{
    (void)state;
    fb_settings s;
    net_ok(fb_settings_init(net, &s));
    assert_int_equal(s.n_layers, 5);
    for (uint32_t l = 0; l < s.n_layers; l++) {
        const fb_tensor *w = &net->tensors[s.layers[l].weight];
        uint64_t n = w->data_bytes / sizeof(float);
        for (uint32_t k = 0; k < FB_SETTING_WIDTHS; k++) {
            uint64_t cost = s.layers[l].choices[k].cost;
            uint64_t room = (n * fb_setting_bits[k] + 7) / 8 + 2 * (uint64_t)w->dims[0] + 1;
            assert_true(cost > 0 && cost <= room); /* no more than packed */
            assert_true(k == 0 || cost < s.layers[l].choices[k - 1].cost);
        }
    }
    /* a wider choice is never worse than a narrower one */
    fb_sense_row rows[2] = {{.layer = s.layers[1].node, .bits = 4, .loss = 0.5},
                            {.layer = s.layers[1].node, .bits = 3, .loss = 0.25}};
    fb_sensitivity sense = {.rows = rows, .n_rows = 2};
    s.layers[1].choices[5].harm = 1;
    fb_settings_take(&s, &sense);
    assert_true(s.layers[1].choices[3].harm == 0.25 && s.layers[1].choices[4].harm == 0.25);
    assert_true(s.layers[1].choices[5].harm == 1 && s.layers[1].choices[0].harm == 0);
    fb_settings_free(&s);
}

static void texts_name_layers(void **state)
{
    (void)state;
    fb_settings s;
    char name[] = "a+b,c|d";
    net_ok(fb_settings_init(net, &s));
    const uint32_t pick[5] = {3, 0, 3, 4, 3};
    const char *was = net->nodes[s.layers[3].node].name;
    net->nodes[s.layers[3].node].name = name;
    char *text = fb_settings_text(&s, pick, "int8"), wanted[256];
    (void)snprintf(wanted, sizeof wanted, "w8:include=%s + w3:include=a?b?c?d + w4 + int8",
                   net->nodes[s.layers[1].node].name);
    assert_string_equal(text, wanted);
    net->nodes[s.layers[3].node].name = was;
    fb_free(text);
    fb_settings_free(&s);
}

/* --- the journal ----------------------------------------------------------------------------- */

static void journal_keeps_trials(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/journal", folder);
    fb_journal j;
    net_ok(fb_journal_open(path, "key", &j));
    net_ok(fb_journal_add(&j, &(fb_search_trial){"w4 + int8", 123, 0.1, 0.9, 0.8, false}));
    fb_journal_close(&j);
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    (void)fputs("77 0x1p", f); /* a line that a crash cut short */
    (void)fclose(f);
    net_ok(fb_journal_open(path, "key", &j));
    net_ok(fb_journal_add(&j, &(fb_search_trial){"w3", 5, 1, 0, 0, false}));
    fb_journal_close(&j);
    net_ok(fb_journal_open(path, "key", &j));
    assert_int_equal(j.n, 2);
    const fb_search_trial *t = fb_journal_find(&j, "w4 + int8");
    assert_non_null(t);
    assert_true(t->bytes == 123 && t->loss == 0.1 && t->correct == 0.9 && t->agree == 0.8);
    assert_null(fb_journal_find(&j, "w4"));
    fb_journal_close(&j);
    assert_int_equal(fb_journal_open(path, "another", &j), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "another model"));
    f = fopen(path, "wb");
    assert_non_null(f);
    (void)fputs("my thesis\n", f);
    (void)fclose(f);
    assert_int_equal(fb_journal_open(path, "key", &j), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "not the journal"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fb_journal_read(path, &j), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "no search was kept"));
}

/* --- the search ------------------------------------------------------------------------------ */

static uint64_t bytes_of(const fb_model *m)
{
    uint64_t bytes;
    net_ok(fb_model_file_bytes(m, &bytes));
    return bytes;
}

static void the_drop_is_kept(void **state)
{
    (void)state;
    fb_search_options o = options();
    fb_search_result r;
    net_ok(fb_search(net, &o, &r));
    assert_true(r.finished && r.n_found == 0 && r.n_trials >= 3);
    assert_int_equal(r.images, NET_IMAGES / 2);
    assert_non_null(r.best);
    const fb_search_trial *best = &r.trials[r.best_trial];
    assert_true(best->loss <= r.ceiling && best->bytes < r.trials[0].bytes);
    assert_int_equal(bytes_of(r.best), best->bytes);
    assert_string_equal(fb_model_note(r.best, "method"), best->method);
    for (uint32_t i = 0; i < r.n_trials; i++) {
        bool within = r.trials[i].loss <= r.ceiling && r.trials[i].correct == 1;
        assert_false(within && r.trials[i].bytes < best->bytes);
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(r.trials[i].method, r.trials[k].method);
    }
    /* twice the drop allows a smaller file */
    o.max_drop = 40;
    fb_search_result wide;
    net_ok(fb_search(net, &o, &wide));
    assert_true(wide.trials[wide.best_trial].bytes < best->bytes);
    fb_search_free(&wide);
    /* nothing can keep a drop of none */
    o.max_drop = 0;
    net_ok(fb_search(net, &o, &wide));
    assert_null(wide.best);
    assert_int_equal(wide.n_trials, 1);
    fb_search_free(&wide);
    fb_search_free(&r);
}

static void the_size_is_kept(void **state)
{
    (void)state;
    fb_search_options o = options();
    fb_search_result r;
    o.max_drop = -1;
    o.max_bytes = bytes_of(net);
    net_ok(fb_search(net, &o, &r));
    assert_int_equal(r.n_trials, 1); /* 8 bits are small enough */
    assert_int_equal(r.best_trial, 0);
    uint64_t most = r.trials[0].bytes;
    fb_search_free(&r);
    o.max_bytes = most * 3 / 4;
    net_ok(fb_search(net, &o, &r));
    assert_non_null(r.best);
    assert_true(bytes_of(r.best) <= o.max_bytes);
    assert_true(bytes_of(r.best) > o.max_bytes * 9 / 10);
    fb_search_free(&r);
    o.max_bytes = 100;
    net_ok(fb_search(net, &o, &r));
    assert_null(r.best);
    fb_search_free(&r);
}

static bool stop_in_third(void *user, const char *what, uint64_t done, uint64_t total)
{
    int *calls = user;
    (void)done;
    (void)total;
    *calls += strcmp(what, "network 3") == 0 && done > 0;
    return *calls < 1;
}

static void it_goes_on_where_it_stopped(void **state)
{
    (void)state;
    fb_search_options o = options();
    fb_search_result whole, part;
    int calls = 0;
    net_ok(fb_search(net, &o, &whole));
    o.folder = folder;
    o.n_threads = 1;
    o.progress = stop_in_third;
    o.progress_user = &calls;
    assert_int_equal(fb_search(net, &o, &part), FB_E_INTERRUPTED);
    assert_true(!part.best && part.n_trials == 0);
    o.progress = NULL;
    o.time_limit = 1e-9;
    net_ok(fb_search(net, &o, &part));
    assert_false(part.finished);
    assert_int_equal(part.n_found, part.n_trials - 1); /* however short, one step */
    fb_search_free(&part);
    o.time_limit = 0;
    net_ok(fb_search(net, &o, &part));
    assert_true(part.finished && part.n_found > 0 && part.n_found < part.n_trials);
    assert_int_equal(part.n_trials, whole.n_trials);
    for (uint32_t i = 0; i < whole.n_trials; i++) {
        assert_string_equal(part.trials[i].method, whole.trials[i].method);
        assert_true(part.trials[i].loss == whole.trials[i].loss);
    }
    fb_search_free(&part);
    net_ok(fb_search(net, &o, &part)); /* all is known: the network comes from the folder */
    assert_int_equal(part.n_found, whole.n_trials);
    assert_string_equal(fb_model_note(part.best, "method"), fb_model_note(whole.best, "method"));
    assert_int_equal(bytes_of(part.best), bytes_of(whole.best));
    fb_search_free(&part);

    fb_search_result kept; /* the front is there to pick from */
    net_ok(fb_search_read(folder, &kept));
    assert_int_equal(kept.n_trials, whole.n_trials);
    uint32_t n_front = 0;
    for (uint32_t i = 0; i < kept.n_trials; i++) {
        fb_model *m;
        assert_true(kept.trials[i].front == whole.trials[i].front);
        n_front += kept.trials[i].front;
        if (kept.trials[i].front) {
            net_ok(fb_search_pick(folder, i, &m));
            assert_int_equal(bytes_of(m), kept.trials[i].bytes);
            fb_model_close(&m);
        } else {
            assert_int_equal(fb_search_pick(folder, i, &m), FB_E_ARG);
            assert_non_null(strstr(fb_error(), "not on the front"));
        }
    }
    assert_true(n_front > 1 && kept.trials[0].front);
    fb_search_free(&kept);
    char name[16]; /* lost: made again */
    (void)snprintf(name, sizeof name, "%u.fewbit", whole.best_trial + 1);
    remove_file(name);
    net_ok(fb_search(net, &o, &part));
    assert_int_equal(bytes_of(part.best), bytes_of(whole.best));
    fb_search_free(&part);
    o.seed = 1;
    assert_int_equal(fb_search(net, &o, &part), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "another seed"));
    fb_search_free(&whole);
}

static void bounds_and_images_are_asked_for(void **state)
{
    (void)state;
    fb_search_options o = options();
    fb_search_result r;
    o.max_drop = -1;
    assert_int_equal(fb_search(net, &o, &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "needs a bound"));
    o = options();
    o.judge = NULL;
    assert_int_equal(fb_search(net, &o, &r), FB_E_ARG);
    assert_non_null(strstr(fb_error(), "others to judge by"));
    o = options();
    fb_model *small;
    fb_compress_options c;
    fb_compress_options_default(&c);
    c.method = "w4";
    net_ok(fb_compress(net, &c, &small));
    assert_int_equal(fb_search(small, &o, &r), FB_E_UNSUPPORTED);
    assert_non_null(strstr(fb_error(), "constant float weights"));
    fb_model_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_nothing_in_common),
        cmocka_unit_test(choices_say_what_they_cost),
        cmocka_unit_test(texts_name_layers),
        cmocka_unit_test(journal_keeps_trials),
        cmocka_unit_test(the_drop_is_kept),
        cmocka_unit_test(the_size_is_kept),
        cmocka_unit_test(it_goes_on_where_it_stopped),
        cmocka_unit_test(bounds_and_images_are_asked_for),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
