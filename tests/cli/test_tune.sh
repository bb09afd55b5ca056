#!/bin/bash
# fewbit tune as a user meets it: what a compressed network has left to learn, interrupted and
# continued, and what is refused.
. "$(dirname "$0")/lib.sh"
if ! "$FEWBIT" --print-options | grep -qx tune; then
    skip 'built without oneDNN'
    finish
fi
run 0 'train' train resnet8 --data "$TEST" --limit 256 --prep "$PREP" --epochs 4 --batch 32 --seed 3 \
    --threads 1 -o net.fewbit -q
tune=(tune net.fewbit --method 'int3:abits=4' --data "$TEST" --limit 256 --epochs 2 --batch 32
    --rate 0.002 --threads 1 --augment flip)

run 0 'tune' "${tune[@]}" --norms on --val "$CALIB" --log log.csv -o tuned.fewbit --json
json "r['schema'] == 'fewbit/tune-1' and r['finished'] and r['epochs'] == 2 and r['steps'] == 16"
json "r['val_top1'] is not None and r['resumed_at_step'] == 0"
check 'the log has a head and two rows' test "$(wc -l <log.csv)" -eq 3
run 0 'inspect' inspect tuned.fewbit
check 'weights are encoded' grep -q 'affine3' out
check 'activations are encoded' grep -q 'affine4' out
check 'batch norms were folded' sh -c "! grep -q scale_shift out"
run 0 'verify' verify tuned.fewbit
run 0 'the same without retraining' compress net.fewbit --method 'int3:abits=4' --data "$TEST" \
    --limit 256 -o plain.fewbit -q
run 0 'eval' eval net.fewbit plain.fewbit tuned.fewbit --data "$TEST" --limit 256 --json
json "r['models'][2]['loss'] < r['models'][1]['loss']"

# stopped again and again: the same bytes
for _ in $(seq 40); do
    run 0 'a slice' "${tune[@]}" --norms on -o slice.fewbit --time-limit 0.001 -q --json
    grep -q '"finished": *true' out && break
done
check 'slices give the same network' "$FEWBIT" diff tuned.fewbit slice.fewbit --data "$CALIB" \
    --limit 8 --threshold 200 -q
run 0 'eval slices' eval tuned.fewbit slice.fewbit --data "$CALIB" --json
json "r['models'][0]['loss'] == r['models'][1]['loss']"

# a compressed file, with and without the network that it comes from
run 0 'codebooks' compress net.fewbit --method 'pq:d=4,k=16' -o pq.fewbit -q
run 0 'tune codebooks' tune pq.fewbit --teacher net.fewbit --distill 1 --distill-layers 1 --data "$TEST" --limit 64 \
    --epochs 1 -b 32 --norms off --rate 0.0005 -o pq2.fewbit -q
check 'as small as it was' test "$(stat -c %s pq2.fewbit)" -le "$(($(stat -c %s pq.fewbit) + 600))"
run 0 'tune levels' tune net.fewbit --method kmeans3 --codes fixed --data "$TEST" --limit 64 \
    --epochs 1 -b 32 --teacher none --norms off --rate 0.0005 -o km.fewbit -q
run 0 'tune a float network' tune net.fewbit --data "$TEST" --limit 64 --epochs 1 -b 32 --norms off \
    --rate 0.0001 -o float.fewbit -q

# values that come to be shared: recipes of training methods, stopped again and again
share=(tune net.fewbit --method 'prune:by=magnitude + slq:bits=3,steps=2,epochs=1' --data "$TEST"
    --limit 128 -b 32 --norms on --threads 1)
run 0 'share' "${share[@]}" -o shared.fewbit --json
json "r['epochs'] == 2"
run 0 'inspect shared' inspect shared.fewbit
check 'weights are levels' grep -q 'levels[23]' out
for _ in $(seq 40); do
    run 0 'a slice' "${share[@]}" -o slice2.fewbit --time-limit 0.001 -q --json
    grep -q '"finished": *true' out && break
done
check 'slices give the same bytes' cmp shared.fewbit slice2.fewbit
refuse 2 'a training method' 'fewbit tune' compress net.fewbit --method slq -o x.fewbit
refuse 2 'too few epochs' 'cannot hold the 5 steps' tune net.fewbit --method slq --epochs 2 \
    --data "$TEST" -o x.fewbit

refuse 2 'no data' 'name the images with --data' tune net.fewbit --method int8 -o x.fewbit
refuse 2 'no teacher' 'no effect without a teacher' tune net.fewbit --data "$TEST" -o x.fewbit --distill 1
refuse 2 'codes' 'must be nearest or fixed' tune net.fewbit --data "$TEST" -o x.fewbit --codes up
refuse 2 'norms' 'must be on or off' tune net.fewbit --data "$TEST" -o x.fewbit --norms 1
refuse 2 'no scales' 'nothing is encoded' tune net.fewbit --data "$TEST" --limit 64 -b 32 --epochs 1 \
    --norms off --fixed-scales -o x.fewbit
refuse 2 'no codes' 'nothing is encoded' tune net.fewbit --method slq --data "$TEST" --limit 64 -b 32 \
    --norms off --codes fixed -o x.fewbit
refuse 2 'a method' "is not a method" tune net.fewbit --data "$TEST" -o x.fewbit --method int8x
refuse 1 'an output that exists' 'exists; -f replaces it' "${tune[@]}" -o tuned.fewbit
check 'nothing was left' test ! -e x.fewbit
finish
