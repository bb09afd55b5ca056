/* Methods that train, as text. */
#include "train/share_plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static fb_status plan_of(const char *text, fb_recipe *r, fb_share_plan *plan)
{
    assert_int_equal(fb_recipe_parse(text, r), FB_OK);
    assert_non_null(r->training);
    return fb_share_plan_of(r->training, plan);
}

static void expect_shares(const char *text, uint32_t n, const double *share)
{
    fb_recipe r;
    fb_share_plan plan;
    if (plan_of(text, &r, &plan) != FB_OK)
        fail_msg("%s", fb_error());
    assert_int_equal(plan.rule.n_steps, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(fabs(plan.rule.share[i] - share[i]) < 1e-12);
        assert_true(i == 0 || plan.rule.share[i] > plan.rule.share[i - 1]);
    }
    assert_true(plan.rule.share[n - 1] == 1);
    fb_recipe_free(&r);
}

/* METHODS B.4, B.5, B.3; half as many and twice as many steps on the same lines. */
static void schedules(void **state)
{
    (void)state;
    expect_shares("slq", 5, (double[]){0.3, 0.55, 0.75, 0.9, 1});
    expect_shares("eslq:steps=10", 10,
                  (double[]){0.15, 0.3, 0.425, 0.55, 0.65, 0.75, 0.825, 0.9, 0.95, 1});
    expect_shares("inq", 4, (double[]){0.3, 0.6, 0.8, 1});
    expect_shares("inq:steps=2", 2, (double[]){0.6, 1});
    expect_shares("mlq", 5, (double[]){0.5, 0.75, 0.875, 0.9375, 1});
    expect_shares("slq:steps=1", 1, (double[]){1});
    expect_shares("mlq:shares=40/62.5/100", 3, (double[]){0.4, 0.625, 1});
    for (int steps = 1; steps <= 32; steps++) {
        char text[32] = "slq:steps=00";
        double share[32];
        fb_recipe r;
        fb_share_plan plan;
        text[10] = (char)('0' + steps / 10);
        text[11] = (char)('0' + steps % 10);
        assert_int_equal(plan_of(text, &r, &plan), FB_OK);
        memcpy(share, plan.rule.share, sizeof share);
        fb_recipe_free(&r);
        expect_shares(text, (uint32_t)steps, share); /* ascending */
    }
}

static void rules(void **state)
{
    (void)state;
    const struct {
        const char *text;
        fb_share_values values;
        fb_share_fit fit;
        fb_share_order order;
        uint32_t n_levels;
        bool with_zero, by_channel;
    } cases[] = {
        {"slq", FB_SHARE_INTEGERS, FB_SHARE_EXACT, FB_SHARE_BY_LOSS, 17, true, true},
        {"slq:3,levels=float,partition=magnitude,fit=lloyd,channels=none", FB_SHARE_FLOATS,
         FB_SHARE_LLOYD, FB_SHARE_BY_MAGNITUDE, 5, true, false},
        {"slq:4,values=16", FB_SHARE_INTEGERS, FB_SHARE_EXACT, FB_SHARE_BY_LOSS, 16, false, true},
        {"eslq:4", FB_SHARE_POWERS, FB_SHARE_EXACT, FB_SHARE_BY_LOSS, 9, true, true},
        {"eslq:4,values=16", FB_SHARE_POWERS, FB_SHARE_EXACT, FB_SHARE_BY_LOSS, 16, true, true},
        {"mlq", FB_SHARE_INTEGERS, FB_SHARE_EXACT, FB_SHARE_BY_LAYER, 4, false, true},
        {"mlq:values=3", FB_SHARE_INTEGERS, FB_SHARE_EXACT, FB_SHARE_BY_LAYER, 3, true, true},
        {"mlq:3,partition=cluster", FB_SHARE_INTEGERS, FB_SHARE_EXACT, FB_SHARE_BY_NET_CLUSTERS, 8,
         false, true},
        {"inq:3", FB_SHARE_TOPMOST, FB_SHARE_EXACT, FB_SHARE_BY_WEIGHT, 5, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fb_recipe r;
        fb_share_plan p;
        if (plan_of(cases[i].text, &r, &p) != FB_OK)
            fail_msg("%s", fb_error());
        assert_int_equal(p.rule.values, cases[i].values);
        assert_int_equal(p.rule.fit, cases[i].fit);
        assert_int_equal(p.rule.order, cases[i].order);
        assert_int_equal(p.rule.n_levels, cases[i].n_levels);
        assert_int_equal(p.rule.with_zero, cases[i].with_zero);
        assert_int_equal(p.by_channel, cases[i].by_channel);
        assert_false(p.ternary);
        assert_int_equal(p.epochs, 4);
        fb_recipe_free(&r);
    }
}

static void ternary_rules(void **state)
{
    (void)state;
    fb_recipe r;
    fb_share_plan p;
    assert_int_equal(plan_of("twn:exact,epochs=7,channels=scale", &r, &p), FB_OK);
    assert_true(p.ternary && p.ternary_rule == FB_TERNARY_EXACT && p.epochs == 7 && p.by_channel);
    fb_recipe_free(&r);
    assert_int_equal(plan_of("ttq:0.1,include=conv*|fc,exclude=conv1", &r, &p), FB_OK);
    assert_true(p.ternary && p.ternary_rule == FB_TERNARY_TTQ && p.part == 0.1f && !p.by_channel);
    assert_true(fb_share_plan_wants(&p, "conv2") && fb_share_plan_wants(&p, "fc"));
    assert_false(fb_share_plan_wants(&p, "conv1") || fb_share_plan_wants(&p, "add"));
    fb_recipe_free(&r);
    assert_int_equal(plan_of("twn", &r, &p), FB_OK);
    assert_true(p.ternary_rule == FB_TERNARY_TWN && fb_share_plan_wants(&p, "any"));
    fb_recipe_free(&r);
}

static void what_does_not_go_together(void **state)
{
    (void)state;
    const struct {
        const char *text, *says;
    } bad[] = {
        {"slq:4,values=17",
         "step 'slq:4,values=17': 17 values do not fit in 4 bits, which hold 16"},
        {"slq:steps=3,shares=50/100", "so steps= has no place beside it"},
        {"slq:shares=50/90", "shares=50/90 ends with 90, must end with 100"},
        {"slq:shares=50/40/100", "shares=50/40/100 is not a list of at most 32 percentages"},
        {"slq:shares=0/100", "is not a list"},
        {"slq:shares=50/100/", "is not a list"},
        {"slq:shares=50;100", "is not a list"},
        {"slq:shares=nan/100", "is not a list"},
        {"slq:shares=101", "is not a list"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        fb_recipe r;
        fb_share_plan p;
        assert_int_equal(plan_of(bad[i].text, &r, &p), FB_E_ARG);
        if (!strstr(fb_error(), bad[i].says))
            fail_msg("%s", fb_error());
        fb_recipe_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules),
        cmocka_unit_test(rules),
        cmocka_unit_test(ternary_rules),
        cmocka_unit_test(what_does_not_go_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
