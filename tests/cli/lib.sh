# What the tests of the command share. A test sources this file, runs its cases and ends with
# `finish`. Needs FB_SOURCE (the repository) and FB_BUILD (where fewbit was built).
set -u
: "${FB_SOURCE:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${FB_BUILD:=$FB_SOURCE/build}"
FEWBIT=$FB_BUILD/fewbit
GLYPHS=$FB_SOURCE/data/glyphs
PREP='none,scale=255,mean=0.5/0.5/0.5,std=0.25/0.25/0.25,size=32'
TEST=$GLYPHS/test-images-idx4-ubyte.gz
CALIB=$GLYPHS/calib-images-idx4-ubyte.gz

passed=0 failed=0 skipped=0
WORK=$(mktemp -d "${TMPDIR:-/tmp}/fewbit-cli.XXXXXX") || exit 1
trap 'chmod -R u+rwx "$WORK" 2>/dev/null; rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1

pass() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    sed 's/^/    /' err out 2>/dev/null | head -20
}
skip() { skipped=$((skipped + 1)); echo "skipped: $1"; }
# check NAME COMMAND...: the command must succeed
check() {
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then pass; else fail "$name: $*"; fi
}
# run CODE NAME ARGS...: fewbit ARGS must end with CODE; its output is in ./out and ./err
run() {
    local want=$1 name=$2 got
    shift 2
    "$FEWBIT" "$@" >out 2>err
    got=$?
    if [ "$got" -eq "$want" ]; then pass; else fail "$name: exit code $got instead of $want"; fi
}
# refuse CODE NAME PATTERN ARGS...: ends with CODE, nothing on stdout, one sentence that matches
refuse() {
    local want=$1 name=$2 pattern=$3
    shift 3
    run "$want" "$name" "$@"
    if [ -s out ]; then fail "$name: something on stdout"; else pass; fi
    if [ "$(grep -c '^fewbit: ' err)" -eq 1 ] && [ "$(wc -l <err)" -eq 1 ]; then pass; else
        fail "$name: not one sentence"
    fi
    if grep -Eiq -- "$pattern" err; then pass; else fail "$name: the sentence says not '$pattern'"; fi
}
# json EXPRESSION: python expression over the report `r` in ./out must hold
json() {
    if python3 -c "
import json, sys
r = json.load(open('out'))
assert $1" 2>json.err; then pass; else fail "JSON: $1: $(tail -1 json.err)"; fi
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    [ "$passed" -gt 0 ] || exit 77
    exit 0
}
