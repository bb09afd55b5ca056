/* npz: zip files written here byte by byte, whole and damaged. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_data_files.h"

#include <zlib.h>

typedef struct zip {
    uint8_t bytes[8192], directory[1024];
    size_t n, directory_n;
    unsigned entries;
    size_t local_at[4]; /* of each entry, and of its directory entry */
    size_t entry_at[4];
} zip;

static void put(uint8_t *to, size_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[(*at)++] = (uint8_t)(i < 8 ? value >> (8 * i) : 0);
}

/* The fields that a local header and a directory entry share. */
static void put_common(uint8_t *to, size_t *at, unsigned method, uLong crc, size_t packed,
                       size_t plain, size_t name_n)
{
    put(to, at, 20, 2);
    put(to, at, 0, 2);
    put(to, at, method, 2);
    put(to, at, 0, 4);
    put(to, at, crc, 4);
    put(to, at, packed, 4);
    put(to, at, plain, 4);
    put(to, at, name_n, 2);
}

static void add(zip *z, const char *name, const uint8_t *data, size_t n, bool deflated)
{
    uint8_t packed[4096];
    size_t packed_n = n;
    if (deflated) {
        z_stream s;
        memset(&s, 0, sizeof s);
        assert_int_equal(deflateInit2(&s, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        uint8_t in[4096];
        memcpy(in, data, n);
        s.next_in = in;
        s.avail_in = (uInt)n;
        s.next_out = packed;
        s.avail_out = sizeof packed;
        assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
        packed_n = s.total_out;
        deflateEnd(&s);
    } else {
        memcpy(packed, data, n);
    }
    uLong crc = crc32(0, data, (uInt)n);
    unsigned method = deflated ? 8 : 0;
    size_t name_n = strlen(name), local = z->n;
    z->local_at[z->entries] = local;
    z->entry_at[z->entries] = z->directory_n;
    put(z->bytes, &z->n, 0x04034b50, 4);
    put_common(z->bytes, &z->n, method, crc, packed_n, n, name_n);
    put(z->bytes, &z->n, 5, 2); /* an extra field in the local header only, as NumPy has */
    memcpy(z->bytes + z->n, name, name_n);
    z->n += name_n + 5;
    memcpy(z->bytes + z->n, packed, packed_n);
    z->n += packed_n;
    put(z->directory, &z->directory_n, 0x02014b50, 4);
    put(z->directory, &z->directory_n, 20, 2);
    put_common(z->directory, &z->directory_n, method, crc, packed_n, n, name_n);
    put(z->directory, &z->directory_n, 0, 12);
    put(z->directory, &z->directory_n, local, 4);
    memcpy(z->directory + z->directory_n, name, name_n);
    z->directory_n += name_n;
    z->entries++;
}

static size_t finish(zip *z, const char *file)
{
    size_t at = z->n, end;
    memcpy(z->bytes + z->n, z->directory, z->directory_n);
    z->n += z->directory_n;
    end = z->n;
    put(z->bytes, &z->n, 0x06054b50, 4);
    put(z->bytes, &z->n, 0, 4);
    put(z->bytes, &z->n, z->entries, 2);
    put(z->bytes, &z->n, z->entries, 2);
    put(z->bytes, &z->n, z->directory_n, 4);
    put(z->bytes, &z->n, at, 4);
    put(z->bytes, &z->n, 3, 2);
    memcpy(z->bytes + z->n, "end", 3);
    z->n += 3;
    write_file(file, z->bytes, z->n);
    return end;
}

static size_t npy(uint8_t *to, const char *descr, const char *shape, const void *data, size_t n)
{
    memcpy(to, "\x93NUMPY\x01\x00", 8);
    int header = snprintf((char *)to + 10, 500,
                          "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape);
    assert_true(header > 0 && header < 256);
    to[8] = (uint8_t)header;
    to[9] = 0;
    memcpy(to + 10 + header, data, n);
    return 10 + (size_t)header + n;
}

static const float values[] = {1, 2, 3, 4, 5, 6, 7, 8};
static const int64_t labels_in[] = {5, 3};

static void fill(zip *z, bool deflated, bool with_labels)
{
    uint8_t bytes[1024];
    memset(z, 0, sizeof *z);
    add(z, "extra.npy", bytes, npy(bytes, "<f4", "(8,)", values, sizeof values), deflated);
    add(z, "x.npy", bytes, npy(bytes, "<f4", "(2, 4)", values, sizeof values), deflated);
    if (with_labels)
        add(z, "y.npy", bytes, npy(bytes, "<i8", "(2,)", labels_in, sizeof labels_in), deflated);
}

static void test_stored_and_deflated(void **state)
{
    (void)state;
    fb_data_options o = options_for("", 2, 2, 1);
    for (int kind = 0; kind < 4; kind++) {
        zip z;
        fill(&z, kind & 1, kind & 2);
        (void)finish(&z, "a.npz");
        fb_data *data = open_ok(in_folder("a.npz"), &o);
        float x[8];
        int32_t labels[2];
        assert_int_equal(read_all(data, 2, x, labels), 2);
        assert_memory_equal(x, values, sizeof x);
        assert_int_equal(fb_data_labelled(data), (kind & 2) != 0);
        assert_int_equal(labels[0], kind & 2 ? 5 : -1);
        fb_data_close(&data);
    }
}

static void expect(zip *z, fb_status status, const char *part)
{
    fb_data_options o = options_for("", 2, 2, 1);
    write_file("bad.npz", z->bytes, z->n);
    open_fails(in_folder("bad.npz"), &o, status, part);
}

/* Puts `value` into a field of the directory entry of x. */
static void expect_entry(bool deflated, size_t field, uint64_t value, unsigned bytes,
                         fb_status status, const char *part)
{
    zip z;
    fill(&z, deflated, true);
    size_t at = z.entry_at[1] + field;
    put(z.directory, &at, value, bytes);
    (void)finish(&z, "tmp.npz");
    expect(&z, status, part);
}

static void test_damage(void **state)
{
    (void)state;
    zip z;
    fill(&z, false, true);
    size_t end = finish(&z, "tmp.npz");
    z.n = end;
    expect(&z, FB_E_FORMAT, "its directory is missing");
    z.n = 10;
    expect(&z, FB_E_FORMAT, "its directory is missing");
    fill(&z, false, true);
    end = finish(&z, "tmp.npz");
    size_t at = end + 16;
    put(z.bytes, &at, 0x7fffffff, 4);
    expect(&z, FB_E_FORMAT, "its directory lies outside of it");
    at = end + 16;
    put(z.bytes, &at, 0xffffffff, 4);
    expect(&z, FB_E_UNSUPPORTED, "zip64");
    fill(&z, false, true);
    end = finish(&z, "tmp.npz");
    z.bytes[z.local_at[1]] = 0;
    expect(&z, FB_E_FORMAT, "a member is not where the directory says");

    expect_entry(true, 16, 0, 4, FB_E_FORMAT, "the checksum of a member is wrong");
    expect_entry(true, 24, 7, 4, FB_E_FORMAT, "the checksum of a member is wrong");
    expect_entry(true, 20, 5, 4, FB_E_FORMAT, "its compressed data do not end");
    expect_entry(false, 20, 0x10000, 4, FB_E_FORMAT, "a member is cut short");
    expect_entry(false, 20, 0xffffffff, 4, FB_E_UNSUPPORTED, "zip64");
    expect_entry(false, 42, 0x10000, 4, FB_E_FORMAT, "is cut short");
    expect_entry(false, 10, 12, 2, FB_E_UNSUPPORTED, "zip method 12, and 0 and 8 are read");
    expect_entry(false, 8, 1, 2, FB_E_UNSUPPORTED, "is encrypted");
    expect_entry(false, 28, 0xffff, 2, FB_E_FORMAT, "has no member 'x' (it has extra.npy)");
    expect_entry(false, 46, 'z', 1, FB_E_FORMAT,
                 "has no member 'x' (it has extra.npy, z.npy, y.npy)");
    expect_entry(true, 10, 0, 2, FB_E_FORMAT, "bad.npz (x)' is not an npy file");

    memset(&z, 0, sizeof z);
    (void)finish(&z, "tmp.npz");
    expect(&z, FB_E_FORMAT, "has no member 'x' (it has none)");
}

static void test_labels_of_another_length(void **state)
{
    (void)state;
    zip z;
    uint8_t bytes[1024];
    fill(&z, false, false);
    add(&z, "y.npy", bytes, npy(bytes, "<i8", "(1,)", labels_in, 8), false);
    (void)finish(&z, "tmp.npz");
    expect(&z, FB_E_FORMAT, "bad.npz (y)' has 1 labels for 2 samples");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_and_deflated),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_labels_of_another_length),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
