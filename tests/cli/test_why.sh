#!/bin/bash
# fewbit why: disasters as a user meets them, on the glyphs networks.
. "$(dirname "$0")/lib.sh"
NET=$GLYPHS/glyphs_resnet.onnx
[ -f "$NET" ] || { skip 'no glyphs networks'; finish; }

# as it was trained: nothing but hints
run 0 'nothing wrong' why "$NET" --data "$TEST" --limit 120 --prep "$PREP"
check 'says so' grep -q '^nothing wrong was found$' out
run 0 'nothing wrong, as JSON' why "$NET" --data "$TEST" --limit 120 --prep "$PREP" --json
json "r['schema'] == 'fewbit/why-1' and r['images'] == 120 and r['top1'] > 90"
json "all(f['hint'] for f in r['findings']) and len(r['variants']) > 8 and len(r['layers']) > 5"

# pixels that were not normalised
run 6 'wrong preprocessing' why "$NET" --data "$TEST" --limit 120 --prep none
check 'first of all' grep -Eq '^1\. the preprocessing is wrong: with none ' out
check 'and what to do' grep -Eq '^   -> give --prep ' out
prep=$(sed -n 's/^   -> give --prep //p' out)
run 0 'the advice is worth something' eval "$NET" --data "$TEST" --limit 300 --prep "$prep" --json
json "r['models'][0]['top1'] > 80"
run 6 'nobody knows the preprocessing' why "$NET" --data "$TEST" --limit 120 --json
json "r['findings'][0]['kind'] == 'prep' and r['top1'] > 80"
run 6 'the tables' why "$NET" --data "$TEST" --limit 80 --prep none -v
check 'of variants and layers' test "$(grep -c '^preprocessing  *images\|^layer  *op' out)" = 2

# labels counted from 1
python3 - "$GLYPHS" <<'PY'
import gzip, sys
raw = bytearray(gzip.open(sys.argv[1] + '/test-labels-idx1-ubyte.gz').read())
for i in range(8, len(raw)):
    raw[i] += 1
open('labels-idx1', 'wb').write(raw)
PY
run 6 'labels from 1' why "$NET" --data "$TEST,labels-idx1" --limit 120 --prep "$PREP" --json
json "r['findings'][0]['kind'] == 'labels-shifted' and r['findings'][0]['numbers']['shift'] == -1"

run 6 'the same report' why "$NET" --data "$TEST" --limit 80 --prep none --json -j 1
cp out first.json
run 6 'for any number of threads' why "$NET" --data "$TEST" --limit 80 --prep none --json -j 3
check 'byte by byte' cmp out first.json
run 6 'quiet' why "$NET" --data "$TEST" --limit 80 --prep none -q
check 'quiet is quiet' test ! -s err
refuse 2 'no data' 'with --data' why "$NET" --prep none
refuse 1 'no model' 'No such file' why missing.onnx --data "$TEST"
finish
