#!/bin/bash
# fewbit why: disasters as a user meets them, on the glyphs networks.
. "$(dirname "$0")/lib.sh"
NET=$GLYPHS/glyphs_resnet.onnx
[ -f "$NET" ] || { skip 'no glyphs networks'; finish; }

# as it was trained: nothing but hints
run 0 'nothing wrong' why "$NET" --data "$TEST" --limit 60 --prep "$PREP" --json=report.json
check 'says so' grep -q '^nothing wrong was found$' out
cp report.json out
json "r['schema'] == 'fewbit/why-1' and r['images'] == 60 and r['top1'] > 90"
json "all(f['hint'] for f in r['findings']) and len(r['variants']) > 8 and len(r['layers']) > 5"

# pixels that were not normalised
run 6 'wrong preprocessing' why "$NET" --data "$TEST" --limit 60 --prep none -v --json=first.json
check 'first of all' grep -Eq '^1\. the preprocessing is wrong: with none ' out
check 'and what to do' grep -Eq '^   -> give --prep ' out
check 'tables' test "$(grep -c '^preprocessing  *images\|^layer  *op' out)" = 2
prep=$(sed -n 's/^   -> give --prep //p' out)
run 0 'the advice is worth something' eval "$NET" --data "$TEST" --limit 300 --prep "$prep" --json
json "r['models'][0]['top1'] > 80"
run 6 'once more' why "$NET" --data "$TEST" --limit 60 --prep none -j 1 -q --json=second.json
check 'the same report for any number of threads' cmp first.json second.json
check 'quiet is quiet' test ! -s err
run 6 'nobody knows the preprocessing' why "$NET" --data "$TEST" --limit 40 --json
json "r['findings'][0]['kind'] == 'prep' and r['top1'] > 80"

# labels counted from 1
python3 - "$GLYPHS" <<'PY'
import gzip, sys
raw = bytearray(gzip.open(sys.argv[1] + '/test-labels-idx1-ubyte.gz').read())
for i in range(8, len(raw)):
    raw[i] += 1
open('labels-idx1', 'wb').write(raw)
PY
run 6 'labels from 1' why "$NET" --data "$TEST,labels-idx1" --limit 40 --prep "$PREP" --json
json "r['findings'][0]['kind'] == 'labels-shifted' and r['findings'][0]['numbers']['shift'] == -1"

# compressed files: a good one, one that a single image calibrated, one of two bits
make() { "$FEWBIT" compress "$NET" --prep "$PREP" -q "$@" >out 2>err || fail "compress $*"; }
make --data "$CALIB" --limit 100 -o good.fewbit
run 0 'a good file' why "$NET" good.fewbit --data "$TEST" --limit 40 --json
json "r['agreement'] > 94 and r['compressed_top1'] > 90 and r['compressed'] == 'good.fewbit'"
json "{'ranges', 'one layer', 'calibration', 'accumulators', 'error by layer'} < {x['at'] for x in r['looks']}"
make --data "$CALIB" --limit 1 --method int8:act=minmax -o one.fewbit
run 6 'one image' why "$NET" one.fewbit --data "$TEST" --limit 40 --json
json "any(f['kind'] == 'few-images' and f['numbers']['images'] == 1 for f in r['findings'])"
make --method w2:per=tensor -o two.fewbit
run 6 'two bits' why "$NET" two.fewbit --data "$TEST" --limit 40 --json
json "r['agreement'] < 90 and r['findings'][0]['kind'] in ('spread', 'one-layer')"

refuse 2 'no data' 'with --data' why "$NET" --prep none
refuse 1 'no model' 'No such file' why missing.onnx --data "$TEST"
finish
