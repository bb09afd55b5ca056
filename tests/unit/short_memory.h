/* Writing and reading a file while memory is short: after each allocation that fails there is a
 * sentence and nothing is lost. Include setjmp/stdarg/stddef/cmocka first. */
#ifndef FB_TESTS_SHORT_MEMORY_H
#define FB_TESTS_SHORT_MEMORY_H

#include "base/alloc.h"
#include "format/format.h"

static inline void survives_short_memory(const fb_model *m, unsigned flags)
{
    fb_model *got = NULL;
    fb_out out;
    bool in_place;
    for (size_t n = 1;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_format_write(m, flags, &out);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
    }
    for (size_t n = 1;; n++) {
        fb_alloc_fail_from(n);
        fb_status s = fb_format_read(out.data, out.n, 0, &got, &in_place);
        fb_alloc_fail_from(0);
        if (s == FB_OK)
            break;
        assert_int_equal(s, FB_E_MEMORY);
    }
    fb_model_close(&got);
    fb_out_free(&out);
}

#endif
