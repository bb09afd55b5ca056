#!/bin/bash
# fewbit train as a user meets it: a network from images, interrupted and continued, and what is
# refused.
. "$(dirname "$0")/lib.sh"
if ! "$FEWBIT" --print-options | grep -qx train; then
    skip 'built without oneDNN'
    finish
fi
train=(train resnet8 --data "$TEST" --limit 256 --prep "$PREP" --epochs 2 --batch 32 --threads 1
    --augment crop=2,flip --seed 3)

run 0 'train' "${train[@]}" --val "$CALIB" --log log.csv -o net.fewbit --json
json "r['schema'] == 'fewbit/train-1' and r['finished'] and r['epochs'] == 2 and r['steps'] == 16"
json "r['loss'] > 0 and r['val_top1'] is not None and r['resumed_at_step'] == 0"
check 'the log has a head and two rows' test "$(wc -l <log.csv)" -eq 3
check 'an epoch is a line' test "$(grep -c '^epoch' err)" -eq 2
check 'the state is gone' test ! -e net.fewbit.state
run 0 'inspect' inspect net.fewbit
check 'batch norms were folded' sh -c "! grep -q scale_shift out"
run 0 'eval' eval net.fewbit --data "$CALIB"
run 0 'export' export net.fewbit --to onnx -o net.onnx
run 0 'diff' diff net.fewbit net.onnx --data "$CALIB" --limit 8
run 0 'quantise' compress net.fewbit --data "$CALIB" --limit 64 --method int8 -o q.fewbit

# killed somewhere, continued: the same bytes
"$FEWBIT" "${train[@]}" -o again.fewbit >/dev/null 2>&1 &
killed=$!
sleep "0.$((RANDOM % 9 + 1))"
kill -9 $killed 2>/dev/null
wait $killed 2>/dev/null
rm -f again.fewbit
run 0 'train after a kill' "${train[@]}" -o again.fewbit
check 'the same bytes' cmp net.fewbit again.fewbit
# asked to end, it saves what it has
"$FEWBIT" "${train[@]}" --epochs 500 -o asked.fewbit >/dev/null 2>err &
asked=$!
sleep 2
kill -TERM $asked
wait $asked
check 'SIGTERM is an interruption' test $? -eq 130
check 'its state is there' test -s asked.fewbit.state
# a time limit that is over at once, again and again
for _ in $(seq 40); do
    run 0 'a slice' "${train[@]}" -o slice.fewbit --time-limit 0.001 -q --json
    grep -q '"finished": *true' out && break
done
json "r['finished'] and r['resumed_at_step'] == 15"
check 'slices give the same bytes' cmp net.fewbit slice.fewbit

# from a file: its own weights, or fresh ones
run 0 'train a file' train net.onnx --data "$TEST" --limit 64 --prep "$PREP" --epochs 1 --batch 32 \
    --rate 0.0001 --teacher net.fewbit --distill 0.9 -o tuned.fewbit -q
run 0 'train a file anew' train net.fewbit --init --data "$TEST" --limit 64 --epochs 1 --batch 32 \
    -o fresh.fewbit -q

refuse 4 'encoded weights' 'encoded weights are tuned, not trained' train q.fewbit --data "$TEST" \
    --limit 64 -b 32 -o x.fewbit
refuse 1 'unknown network' 'neither a file nor an architecture' train resnet99 --data "$TEST" -o x
refuse 2 'no data' 'name the images with --data' train resnet8 -o x
refuse 2 'no output' 'with -o FILE' train resnet8 --data "$TEST"
refuse 2 'no teacher' 'no effect without --teacher' train resnet8 --data "$TEST" -o x --distill 1
refuse 2 'no momentum' 'no effect with --optimizer adam' train resnet8 --data "$TEST" -o x \
    --optimizer adam --momentum 0.5
refuse 2 'a schedule' "schedule 'up' is none of" "${train[@]}" --schedule up -o x.fewbit
refuse 2 'an augmentation' "'turn' is none of" "${train[@]}" --augment turn -o x.fewbit
refuse 2 'a batch too large' 'do not fill one batch of 512' "${train[@]}" -b 512 -o x.fewbit
refuse 1 'an output that exists' 'exists; -f replaces it' "${train[@]}" -o net.fewbit
check 'nothing was left' test ! -e x.fewbit
finish
