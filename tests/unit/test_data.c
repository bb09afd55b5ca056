/* Data sets of image files: folders, lists, single images; order, prefetching, failures. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "test_data_files.h"

enum { MANY = 40 };

/* Images whose red is their number, in class folders, as a list and in a flat folder. */
static int make_sets(void **state)
{
    if (make_folder(state) != 0)
        return -1;
    make_dir("classes");
    make_dir("classes/Zebra");
    make_dir("classes/ant");
    make_dir("classes/empty");
    make_dir("classes/.hidden");
    write_plain("classes/ant/b.png", 4, 4, 2, 0, 9);
    write_plain("classes/ant/a.PNG", 4, 4, 1, 0, 9);
    write_plain("classes/Zebra/x y.png", 4, 4, 3, 0, 9);
    write_plain("classes/.hidden/h.png", 4, 4, 99, 0, 9);
    write_plain("classes/loose.png", 4, 4, 98, 0, 9);
    write_text("classes/ant/notes.txt", "not an image");
    make_dir("flat");
    write_plain("flat/2.png", 4, 4, 2, 0, 9);
    write_plain("flat/10.png", 4, 4, 10, 0, 9);
    write_text("flat/readme", "x");
    make_dir("many");
    char list[4096] = "";
    for (int i = 0; i < MANY; i++) {
        char name[32], line[64];
        (void)snprintf(name, sizeof name, "many/%02d.png", i);
        /* Larger and smaller ones alternate, so that threads finish out of order. */
        write_plain(name, i % 3 ? 4 : 300, i % 3 ? 4 : 300, (uint8_t)i, 0, 9);
        (void)snprintf(line, sizeof line, "%s %d\n", name, i % 7);
        strcat(list, line);
    }
    write_text("many.txt", list);
    make_dir("nothing");
    make_dir("nothing/here");
    write_text("nothing/here/a.gif", "GIF89a");
    return 0;
}

static void test_class_folders(void **state)
{
    (void)state;
    fb_data_options o = options_for("none", 4, 4, 3);
    fb_data *data = open_ok(in_folder("classes"), &o);
    assert_int_equal(fb_data_count(data), 3);
    assert_true(fb_data_labelled(data));
    assert_int_equal(fb_data_n_classes(data), 3);
    assert_string_equal(fb_data_class(data, 0), "Zebra");
    assert_string_equal(fb_data_class(data, 1), "ant");
    assert_string_equal(fb_data_class(data, 2), "empty");
    assert_null(fb_data_class(data, 3));
    assert_string_equal(fb_data_name(data, 0), "Zebra/x y.png");
    assert_string_equal(fb_data_name(data, 1), "ant/a.PNG");
    assert_string_equal(fb_data_name(data, 2), "ant/b.png");
    assert_null(fb_data_name(data, 3));
    float x[4 * 48];
    int32_t labels[4];
    assert_int_equal(read_all(data, 4, x, labels), 3);
    assert_int_equal(labels[0], 0);
    assert_int_equal(labels[1], 1);
    assert_int_equal(labels[2], 1);
    assert_true(x[0] == 3 && x[48] == 1 && x[96] == 2 && x[2] == 9);
    assert_int_equal(read_all(data, 4, x, labels), 0);
    assert_int_equal(read_all(data, 4, x, labels), 0);
    fb_data_close(&data);
    assert_null(data);
    fb_data_close(&data);
    fb_data_close(NULL);
}

static void test_flat_folder_and_single(void **state)
{
    (void)state;
    fb_data_options o = options_for("none", 4, 4, 3);
    char slash[600];
    (void)snprintf(slash, sizeof slash, "%s/", in_folder("flat"));
    fb_data *data = open_ok(slash, &o);
    assert_int_equal(fb_data_count(data), 2);
    assert_false(fb_data_labelled(data));
    assert_int_equal(fb_data_n_classes(data), 0);
    assert_string_equal(fb_data_name(data, 0), "10.png");
    float x[96];
    int32_t labels[2];
    assert_int_equal(read_all(data, 2, x, labels), 2);
    assert_int_equal(labels[0], -1);
    assert_true(x[0] == 10 && x[48] == 2);
    fb_data_close(&data);

    data = open_ok(in_folder("flat/2.png"), &o);
    assert_int_equal(fb_data_count(data), 1);
    assert_string_equal(fb_data_name(data, 0), "2.png");
    assert_int_equal(read_all(data, 2, x, NULL), 1);
    assert_true(x[0] == 2);
    fb_data_close(&data);
}

static void test_list(void **state)
{
    (void)state;
    fb_data_options o = options_for("none", 4, 4, 3);
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "\xef\xbb\xbf"
                   "classes/Zebra/x y.png 5\r\n\n  %s\t0  \nflat/2.png 999999",
                   in_folder("flat/10.png"));
    write_text("list.txt", text);
    fb_data *data = open_ok(in_folder("list.txt"), &o);
    assert_int_equal(fb_data_count(data), 3);
    assert_int_equal(fb_data_n_classes(data), 1000000);
    assert_null(fb_data_class(data, 0));
    assert_string_equal(fb_data_name(data, 0), "classes/Zebra/x y.png");
    float x[3 * 48];
    int32_t labels[3];
    assert_int_equal(read_all(data, 3, x, labels), 3);
    assert_true(x[0] == 3 && x[48] == 10 && x[96] == 2);
    assert_true(labels[0] == 5 && labels[1] == 0 && labels[2] == 999999);
    fb_data_close(&data);

    write_text("bare.txt", "flat/2.png\nclasses/Zebra/x y.png\n");
    data = open_ok(in_folder("bare.txt"), &o);
    assert_false(fb_data_labelled(data));
    assert_int_equal(fb_data_count(data), 2);
    fb_data_close(&data);
}

static void list_fails(const char *text, fb_status status, const char *part)
{
    fb_data_options o = options_for("none", 4, 4, 3);
    write_text("bad.txt", text);
    open_fails(in_folder("bad.txt"), &o, status, part);
}

static void test_list_errors(void **state)
{
    (void)state;
    list_fails("\n \n", FB_E_FORMAT, "no images in '");
    list_fails("a.png -1\n", FB_E_FORMAT, "has label -1, and labels are 0 to 999999");
    list_fails("flat/2.png 1\na.png 1000000\n", FB_E_FORMAT, "line 2 of '");
    list_fails("a.png 99999999999999999999\n", FB_E_IO, "a.png 99999999999999999999");
    list_fails("flat/2.png 1\nflat/10.png\n", FB_E_FORMAT,
               "has no label, unlike the lines before it");
    list_fails("flat/2.png\nflat/10.png 3\n", FB_E_FORMAT, "has a label, unlike");
    list_fails("flat/2.png 1\nflat/missing.png 1\n", FB_E_IO, "flat/missing.png': No such file");
    char *line = malloc(10001);
    assert_non_null(line);
    memset(line, 'a', 10000);
    line[10000] = '\0';
    list_fails(line, FB_E_LIMIT, "has 10000 bytes, and 8192 is the limit");
    free(line);
    char late[1000];
    memset(late, '\n', sizeof late);
    late[900] = '\0';
    fb_data_options o = options_for("none", 4, 4, 3);
    write_file("late.txt", late, sizeof late);
    open_fails(in_folder("late.txt"), &o, FB_E_FORMAT, "is not a list of images: it is not text");
}

static void test_open_errors(void **state)
{
    (void)state;
    fb_data_options o = options_for("none", 4, 4, 3);
    open_fails(in_folder("missing"), &o, FB_E_IO, "missing': No such file or directory");
    open_fails(in_folder("missing,too"), &o, FB_E_IO, "missing': No such file or directory");
    open_fails("/dev/null", &o, FB_E_IO, "it is not a regular file");
    open_fails(in_folder("nothing"), &o, FB_E_FORMAT, "no images in '");
    open_fails(in_folder("nothing"), &o, FB_E_FORMAT, "looked for .jpg, .jpeg and .png");
    write_text("void", "");
    open_fails(in_folder("void"), &o, FB_E_FORMAT, "is empty");
    write_file("odd", "ab\0cd", 5);
    open_fails(in_folder("odd"), &o, FB_E_FORMAT, "is not a data set that fewbit reads");
    char pair[1200];
    (void)snprintf(pair, sizeof pair, "%s,%s", in_folder("flat/2.png"), in_folder("many.txt"));
    open_fails(pair, &o, FB_E_ARG, "only npy and IDX images take a file of labels");
    open_fails("", &o, FB_E_ARG, "needs a path");
    open_fails(NULL, &o, FB_E_ARG, "needs a path");
    open_fails(in_folder("flat"), NULL, FB_E_ARG, "options");
    assert_int_equal(fb_data_open(in_folder("flat"), &o, NULL), FB_E_ARG);
    if (geteuid() != 0) {
        make_dir("locked");
        assert_int_equal(chmod(in_folder("locked"), 0), 0);
        open_fails(in_folder("locked"), &o, FB_E_IO, "locked': Permission denied");
    }
}

static void test_prep_and_network_must_agree(void **state)
{
    (void)state;
    fb_data_options o = options_for("imagenet", 227, 227, 3);
    open_fails(
        in_folder("flat"), &o, FB_E_ARG,
        "preprocessing 'imagenet' gives 224x224 (height x width), but the network's input is "
        "227x227x3 (height x width x channels); set size= to match");
    o = options_for("none", 4, 4, 1);
    open_fails(in_folder("flat"), &o, FB_E_ARG, "add order=gray");
    o = options_for("mnist", 4, 4, 3);
    open_fails(in_folder("flat"), &o, FB_E_ARG, "order=gray, but the network's input has 3");
    o = options_for("none", 4, 4, 3);
    o.prep.std[0] = 0;
    open_fails(in_folder("flat"), &o, FB_E_ARG, "std 0");
    o = options_for("none", 5, 4, 3);
    fb_data *data = open_ok(in_folder("flat"), &o);
    float x[60];
    uint32_t got = 9;
    expect_sentence(fb_data_next(data, 1, x, NULL, &got), FB_E_ARG,
                    "flat/10.png': an image of 4x4");
    assert_int_equal(got, 0);
    fb_data_close(&data);
}

static fb_data *open_many(uint32_t threads, uint64_t limit)
{
    fb_data_options o = options_for("none,size=4", 4, 4, 3);
    o.n_threads = threads;
    o.limit = limit;
    return open_ok(in_folder("many.txt"), &o);
}

static void test_order_with_threads(void **state)
{
    (void)state;
    for (uint32_t threads = 0; threads <= 5; threads++) {
        fb_data *data = open_many(threads, 0);
        for (int round = 0; round < 2; round++) {
            uint32_t at = 0, got;
            do {
                float x[7 * 48];
                int32_t labels[7];
                got = read_all(data, 7, x, labels);
                for (uint32_t i = 0; i < got; i++, at++) {
                    assert_true(x[i * 48] == (float)at);
                    assert_int_equal(labels[i], at % 7);
                }
            } while (got > 0);
            assert_int_equal(at, MANY);
            fb_data_rewind(data);
        }
        fb_data_close(&data);
    }
}

/* More samples than the ring holds: 300x300x3 floats, of which 31 fit 32 MiB. */
static void test_ring_wraps(void **state)
{
    (void)state;
    fb_data_options o = options_for("none,size=300", 300, 300, 3);
    o.n_threads = 3;
    fb_data *data = open_ok(in_folder("many"), &o);
    float *x = malloc(sizeof(float) * 300 * 300 * 3);
    assert_non_null(x);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(read_all(data, 1, x, NULL), 1);
        assert_true(x[0] == (float)i && x[300 * 300 * 3 - 3] == (float)i);
    }
    assert_int_equal(read_all(data, 1, x, NULL), 0);
    free(x);
    fb_data_close(&data);
}

static void test_early_close_and_rewind(void **state)
{
    (void)state;
    float x[3 * 48];
    for (uint32_t threads = 1; threads <= 4; threads++) {
        fb_data *data = open_many(threads, 0);
        fb_data_close(&data);
        data = open_many(threads, 0);
        assert_int_equal(read_all(data, 3, x, NULL), 3);
        fb_data_close(&data);
        data = open_many(threads, 0);
        fb_data_rewind(data);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(read_all(data, 3, x, NULL), 3);
            assert_true(x[0] == 0 && x[48] == 1 && x[96] == 2);
            fb_data_rewind(data);
        }
        fb_data_close(&data);
    }
}

static void test_limit_is_spread(void **state)
{
    (void)state;
    fb_data *data = open_many(2, 4);
    assert_int_equal(fb_data_count(data), 4);
    assert_int_equal(fb_data_n_classes(data), 7);
    assert_string_equal(fb_data_name(data, 1), "many/10.png");
    float x[5 * 48];
    int32_t labels[5];
    assert_int_equal(read_all(data, 5, x, labels), 4);
    for (int i = 0; i < 4; i++) {
        assert_true(x[i * 48] == (float)(10 * i));
        assert_int_equal(labels[i], 10 * i % 7);
    }
    fb_data_close(&data);
    data = open_many(2, 1000);
    assert_int_equal(fb_data_count(data), MANY);
    fb_data_close(&data);
}

static void test_fingerprint(void **state)
{
    (void)state;
    fb_data *all = open_many(1, 0), *again = open_many(3, 0), *some = open_many(1, 4);
    assert_int_equal(strlen(fb_data_fingerprint(all)), 16);
    assert_string_equal(fb_data_fingerprint(all), fb_data_fingerprint(again));
    assert_string_not_equal(fb_data_fingerprint(all), fb_data_fingerprint(some));
    fb_data_close(&all);
    fb_data_close(&again);
    fb_data_close(&some);
    fb_data_options o = options_for("none", 4, 4, 3);
    write_text("one.txt", "flat/2.png 1\n");
    write_text("two.txt", "flat/2.png 2\n");
    fb_data *one = open_ok(in_folder("one.txt"), &o), *two = open_ok(in_folder("two.txt"), &o);
    assert_string_not_equal(fb_data_fingerprint(one), fb_data_fingerprint(two));
    fb_data_close(&one);
    fb_data_close(&two);
}

static void test_failure_has_its_turn(void **state)
{
    (void)state;
    make_dir("mixed");
    write_plain("mixed/0.png", 4, 4, 0, 0, 0);
    write_plain("mixed/1.png", 4, 4, 1, 0, 0);
    write_text("mixed/2.png", "no image at all");
    write_text("mixed/3.jpg", "\xff\xd8\xff\xe0 and no more");
    write_plain("mixed/4.png", 4, 4, 4, 0, 0);
    fb_data_options o = options_for("none", 4, 4, 3);
    o.n_threads = 2;
    fb_data *data = open_ok(in_folder("mixed"), &o);
    float x[8 * 48];
    int32_t labels[8];
    uint32_t got;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fb_data_next(data, 8, x, labels, &got), FB_OK);
        assert_int_equal(got, 2);
        expect_sentence(fb_data_next(data, 8, x, labels, &got), FB_E_FORMAT,
                        "mixed/2.png': it is neither a JPEG nor a PNG image");
        assert_int_equal(got, 0);
        expect_sentence(fb_data_next(data, 8, x, labels, &got), FB_E_FORMAT,
                        "mixed/3.jpg': the JPEG");
        assert_int_equal(fb_data_next(data, 8, x, labels, &got), FB_OK);
        assert_int_equal(got, 1);
        assert_true(x[0] == 4);
        assert_int_equal(fb_data_next(data, 8, x, labels, &got), FB_OK);
        assert_int_equal(got, 0);
        fb_data_rewind(data);
    }
    assert_int_equal(fb_data_next(data, 0, x, labels, &got), FB_E_ARG);
    assert_int_equal(fb_data_next(data, 1, NULL, labels, &got), FB_E_ARG);
    assert_int_equal(fb_data_next(NULL, 1, x, labels, &got), FB_E_ARG);
    fb_data_close(&data);

    data = open_ok(in_folder("mixed"), &o);
    assert_int_equal(unlink(in_folder("mixed/0.png")), 0);
    expect_sentence(fb_data_next(data, 8, x, labels, &got), FB_E_IO, "mixed/0.png': No such file");
    fb_data_close(&data);
}

/* Whatever allocation fails, the sentence says so and nothing leaks. */
static void test_memory_runs_out(void **state)
{
    (void)state;
    fb_data_options o = options_for("none,size=4", 4, 4, 3);
    float x[48];
    bool through = false;
    for (size_t n = 1; n < 500 && !through; n++) {
        fb_data *data = NULL;
        uint32_t got = 0;
        fb_alloc_fail_from(n);
        fb_status status = fb_data_open(in_folder("classes"), &o, &data);
        if (status == FB_OK)
            status = fb_data_next(data, 1, x, NULL, &got);
        fb_alloc_fail_from(0);
        through = status == FB_OK;
        if (!through)
            expect_sentence(status, FB_E_MEMORY, "out of memory");
        fb_data_close(&data);
    }
    assert_true(through);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_folders),
        cmocka_unit_test(test_flat_folder_and_single),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_errors),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_prep_and_network_must_agree),
        cmocka_unit_test(test_order_with_threads),
        cmocka_unit_test(test_ring_wraps),
        cmocka_unit_test(test_early_close_and_rewind),
        cmocka_unit_test(test_limit_is_spread),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_failure_has_its_turn),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make_sets, remove_folder);
}
