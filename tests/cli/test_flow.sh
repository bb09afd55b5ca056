#!/bin/bash
# The main job on the glyphs networks: inspect, compress, eval, run, bench, diff, verify, export.
. "$(dirname "$0")/lib.sh"
NET=$GLYPHS/glyphs_resnet.onnx
[ -f "$NET" ] || { skip 'no glyphs networks'; finish; }

run 0 inspect inspect "$NET"
check 'totals' grep -q '^compressible: ' out
run 0 'inspect --json' inspect "$NET" --json
json "r['schema'] == 'fewbit/inspect-1' and r['bytes'] > 0 and r['predicted_bytes'] is None"
json "r['model']['macs'] == sum(l['macs'] for l in r['model']['layers']) > 1e6"

# the prediction is what is written, to the byte, with every option that lies in the file
options=(--method int8 --data "$CALIB" --limit 100 --prep "$PREP" --labels "$GLYPHS/labels.txt" --seed 7)
run 0 'dry run' inspect "$NET" --dry-run "${options[@]}" --json
predicted=$(python3 -c "import json; print(json.load(open('out'))['predicted_bytes'])")
run 0 'compress --dry-run' compress "$NET" --dry-run "${options[@]}" --json
json "r['dry_run'] and r['bytes'] == $predicted"
run 0 'dry run without images' inspect "$NET" --dry-run --method int8 --prep "$PREP" \
    --labels "$GLYPHS/labels.txt" --json
json "r['predicted_bytes'] == $predicted"
run 0 compress compress "$NET" "${options[@]}" -o net.fewbit
check 'summary on stderr' grep -q ' bytes (' err
check 'nothing on stdout' test ! -s out
check 'the size is what was predicted' test "$(stat -c %s net.fewbit)" = "$predicted"
check 'no temporary is left' test "$(ls | grep -c fewbit)" = 1
run 0 'compress again' compress "$NET" "${options[@]}" -o again.fewbit -j 1
check 'same inputs, same seed, same bytes, any threads' cmp net.fewbit again.fewbit
run 0 'compress w4 without data' compress "$NET" --method w4 -o w4.fewbit -q
check 'quiet is quiet' test ! -s err
check 'four bits are smaller' test "$(stat -c %s w4.fewbit)" -lt "$(stat -c %s net.fewbit)"

# each layer alone; finished trials are kept in the user's cache
export XDG_CACHE_HOME=$PWD/cache
run 0 sensitivity inspect "$NET" --sensitivity --bits 8,2 --data "$CALIB" --limit 24 --prep "$PREP" --json
json "r['schema'] == 'fewbit/sensitivity-1' and r['images'] == 24 and r['labelled']"
json "len({(x['layer'], x['what'], x['bits']) for x in r['rows']}) == len(r['rows']) > 30"
json "sum(x['loss'] for x in r['rows'] if x['bits'] == 2) > 10 * sum(x['loss'] for x in r['rows'] if x['bits'] == 8)"
cp out first.json
check 'trials are kept' test "$(ls cache/fewbit | wc -l)" = 1
run 0 'sensitivity again' inspect "$NET" --sensitivity --bits 8,2 --data "$CALIB" --limit 24 --prep "$PREP" --json
check 'nothing is tried twice, and the report is the same' cmp out first.json
run 0 'sensitivity as a table' inspect "$NET" --sensitivity --bits 8,2 --data "$CALIB" --limit 24 --prep "$PREP"
check 'two tables' test "$(grep -c 'loss (1000 x KL' out)" = 2

run 0 'inspect .fewbit' inspect net.fewbit
check 'prep travels' grep -q '^prep  *none,.*scale=255' out
check 'labels travel' grep -q '^labels  *36: 0 ... Z' out
check 'notes travel' grep -q '^note  *method = .*int8' out
check 'the source travels' grep -q '^note  *source = glyphs_resnet.onnx' out

run 0 eval eval "$NET" net.fewbit --data "$TEST" --limit 600 --json
json "r['schema'] == 'fewbit/eval-1' and len(r['models']) == 2"
json "all(list(m) == ['file','bytes','images','top1','top5','loss','agreement','overflows'] for m in r['models'])"
json "r['models'][0]['images'] == 600 and r['models'][0]['top1'] > 90"
json "r['models'][0]['agreement'] == 100 and r['models'][1]['agreement'] > 95"
json "abs(r['models'][0]['top1'] - r['models'][1]['top1']) < 2"
json "r['models'][1]['bytes'] == $predicted"
run 0 'eval to a file' eval net.fewbit --data "$TEST" --limit 100 --json=eval.json
check 'the table is printed, too' grep -q 'top-1' out
cp eval.json out
json "r['models'][0]['images'] == 100"
run 0 'a report may be replaced' eval net.fewbit --data "$TEST" --limit 50 --json=eval.json
mkdir unlabelled && cp "$GLYPHS"/samples/*.png unlabelled/
run 0 'eval without labels' eval net.fewbit --data unlabelled --json
json "r['models'][0]['top1'] is None and r['models'][0]['loss'] is None"
json "r['models'][0]['agreement'] == 100 and r['models'][0]['images'] == 12"

run 0 'compress --eval' compress "$NET" "${options[@]}" --eval "$TEST" -o measured.fewbit --json
json "r['top1'] > 90 and r['images'] == 3000"
check 'accuracy is noted' sh -c "'$FEWBIT' inspect measured.fewbit | grep -q 'accuracy.top1 = 9'"

options=(--method 'int4 + gptq' --data "$CALIB" --limit 60 --prep "$PREP")
run 0 'response errors' compress "$NET" "${options[@]}" -o gptq.fewbit --json --verbose
json "len(r['layer_errors']) > 8 and all(e['step'] == 'gptq' for e in r['layer_errors'])"
json "all(0 < e['after'] <= e['before'] < 0.5 for e in r['layer_errors'])"
check 'and as a table' test "$(grep -c ' gptq$' err)" -gt 8

right=0
for image in "$GLYPHS"/samples/*.png; do
    "$FEWBIT" run net.fewbit "$image" -k 1 >out 2>err || fail "run $image"
    name=$(basename "$image"); name=${name%%-*}
    [ "$(awk 'NR == 2 {print $4}' out)" = "$name" ] && right=$((right + 1))
done
check "samples are recognised ($right of 12)" test $right -ge 9
run 0 'several images' run net.fewbit "$GLYPHS"/samples/*.png --json
json "r['schema'] == 'fewbit/run-1' and len(r['images']) == 12"
json "all(len(i['top']) == 5 for i in r['images'])"
json "all(abs(sum(t['probability'] for t in i['top']) - 1) < 0.5 for i in r['images'])"
run 0 'run on ONNX' run "$NET" "$GLYPHS/samples/R-5.png" --prep "$PREP" --labels "$GLYPHS/labels.txt"

run 0 bench bench "$NET" net.fewbit --seconds 0.1
check 'profile by layer' grep -q 'fbk_' out
check 'layers against the first model' grep -q "^measured: .* in $NET" out
run 0 'bench --json' bench "$NET" net.fewbit --seconds 0.1 --batch 2 -j 2 --json
json "r['schema'] == 'fewbit/bench-1' and r['models'][0]['threads'] == 2 and r['models'][0]['batch'] == 2"
json "all({'file','threads','batch','median_ns','min_ns','peak_bytes','layers'} <= set(m) for m in r['models'])"
json "all(set(l) == {'name','op','kernel','median_ns','min_ns','base_ns','macs','ops'} for m in r['models'] for l in m['layers'])"
json "all(l['base_ns'] is None for l in r['models'][0]['layers'])"
json "sum(l['base_ns'] is not None for l in r['models'][1]['layers'] if l['op'] == 'conv') >= 5"
json "all(m['min_ns'] <= m['median_ns'] and m['peak_bytes'] > 0 for m in r['models'])"

run 0 'compress to look-ups' compress "$NET" --method 'pq:d=4,k=16,layers=inner + int8 + lut' \
  --data "$CALIB" --limit 50 --prep "$PREP" -o look.fewbit
run 0 'bench of look-ups' bench look.fewbit --seconds 0.1
check 'predicted' grep -q '^predicted: ' out
check 'against decoded weights' grep -q '^measured: .* decoded weights' out
run 0 'bench of look-ups --json' bench look.fewbit --seconds 0.1 --json
json "any(l['kernel'].startswith('fbk_prod_q') and l['base_ns'] > 0 and l['ops'] < l['macs'] for l in r['models'][0]['layers'])"
run 0 'bench decoded' bench look.fewbit --seconds 0.1 --tables decode --json
json "all(l['base_ns'] is None for l in r['models'][0]['layers'])"

run 0 diff diff "$NET" net.fewbit --data "$TEST" --limit 32
check 'verdict' grep -q '^most is added by: ' out
run 0 'diff --json' diff "$NET" net.fewbit --data "$TEST" --limit 32 --json
json "r['schema'] == 'fewbit/diff-1' and r['images'] == 32 and len(r['layers']) > 5"
json "all(l['sqnr_db'] is None or l['sqnr_db'] > 10 for l in r['layers'])"
run 0 'diff with itself' diff net.fewbit net.fewbit --data "$TEST" --limit 8 --json
json "r['first_wrong'] is None and all(l['worst'] == 0 for l in r['layers'])"

run 0 verify verify net.fewbit
check 'verdict' grep -q 'equal to the bit' out
run 0 'verify --json' verify net.fewbit --json
json "r['schema'] == 'fewbit/verify-1' and r['ok'] and r['wrong'] == 0"
json "any(l['exact'] for l in r['layers'])"
run 0 'verify ONNX' verify "$NET"

run 0 export export net.fewbit --to onnx -o qdq.onnx
run 0 'the export opens' inspect qdq.onnx
run 0 'the export computes the same' eval net.fewbit qdq.onnx --data "$TEST" --limit 200 --json
json "r['models'][1]['agreement'] > 99"

for net in plain mobile fc; do
    run 0 "$net: compress" compress "$GLYPHS/glyphs_$net.onnx" --data "$CALIB" --limit 100 \
        --prep "$PREP" -o $net.fewbit
    run 0 "$net: dry run" inspect "$GLYPHS/glyphs_$net.onnx" --dry-run --prep "$PREP" --json
    json "r['predicted_bytes'] == $(stat -c %s $net.fewbit)"
    run 0 "$net: eval" eval "$GLYPHS/glyphs_$net.onnx" $net.fewbit --data "$TEST" --limit 300 --json
    json "r['models'][1]['agreement'] > 94"
    json "r['models'][1]['bytes'] < 0.30 * r['models'][0]['bytes']"
    run 0 "$net: verify" verify $net.fewbit
done
finish
