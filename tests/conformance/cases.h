/* One case of libonnx-testdata: model, data sets, comparison. */
#ifndef CONFORMANCE_CASES_H
#define CONFORMANCE_CASES_H

#include <stddef.h>

typedef enum verdict { CASE_PASS, CASE_FAIL, CASE_SKIP } verdict;

/* `reason` says why not passed. */
verdict case_run(const char *folder, char *reason, size_t cap);

#endif
