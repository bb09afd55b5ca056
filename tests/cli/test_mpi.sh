#!/bin/bash
# fewbit train and tune in two processes: what one process makes of the same batches, within
# rounding; stopped and continued, the same bytes.
. "$(dirname "$0")/lib.sh"
if ! "$FEWBIT" info --json | grep -q '"mpi": *true'; then
    skip 'built without MPI'
    if "$FEWBIT" --print-options | grep -qx train; then
        OMPI_COMM_WORLD_SIZE=2 refuse 4 'several processes' 'built without MPI' train resnet8 \
            --data "$TEST" --prep "$PREP" -o x.fewbit
    fi
    finish
fi
command -v mpirun >/dev/null || { skip 'mpirun is not installed'; finish; }

# In a container, processes may not read each other's memory. Open MPI leaks.
export OMPI_MCA_btl_vader_single_copy_mechanism=none ASAN_OPTIONS=detect_leaks=0
mpi=(mpirun --allow-run-as-root --oversubscribe --bind-to none -n)
# together CODE NAME ARGS...: two processes of fewbit ARGS; mpirun has to end with CODE
together() {
    local want=$1 name=$2 got
    shift 2
    "${mpi[@]}" 2 "$FEWBIT" "$@" >out 2>err
    got=$?
    if [ "$got" -eq "$want" ]; then pass; else fail "$name: exit code $got instead of $want"; fi
}
# near NAME A B TOLERANCE: losses of the logs A and B, by epoch
near() {
    check "$1" python3 -c "
import csv, sys
a, b = (list(csv.DictReader(open(f))) for f in sys.argv[1:3])
assert len(a) == len(b) > 0
for x, y in zip(a, b):
    assert abs(float(x['loss']) / float(y['loss']) - 1) < $4, (x, y)" "$2" "$3"
}
data=(--data "$TEST" --limit 128 --batch 32 --threads 1)

train=(train resnet8 "${data[@]}" --prep "$PREP" --epochs 2 --augment crop=2,flip --rate 0.002
    --dropout 0.2 --mixup 0.2 --clip 1 --ema 0.5 --seed 3)
run 0 'one process' "${train[@]}" -o one.fewbit --log one.csv
together 0 'two processes' "${train[@]}" --val "$CALIB" -o two.fewbit --log two.csv --json
json "r['finished'] and r['steps'] == 8 and r['val_top1'] is not None"
check 'an epoch is told once' test "$(grep -c '^epoch' err)" -eq 2
near 'the same losses' one.csv two.csv 1e-4
run 0 'nearly the same network' diff one.fewbit two.fewbit --data "$CALIB" --limit 8 --threshold 40 -q
cp two.fewbit before.fewbit
together 1 'an output that exists' "${train[@]}" -o two.fewbit
check 'the output stays' cmp two.fewbit before.fewbit

# a killed process ends the other, and the run goes on to the same bytes; so do slices
"${mpi[@]}" 2 "$FEWBIT" "${train[@]}" -o again.fewbit >/dev/null 2>&1 &
killed=$!
sleep "1.$((RANDOM % 9 + 1))"
kill $killed 2>/dev/null
wait $killed 2>/dev/null
rm -f again.fewbit
together 0 'two processes after a kill' "${train[@]}" -o again.fewbit
check 'the same bytes' cmp two.fewbit again.fewbit
for _ in $(seq 20); do
    together 0 'a slice' "${train[@]}" -o slice.fewbit --time-limit 0.001 -q --json
    grep -q '"finished": *true' out && break
done
json "r['finished'] and r['resumed_at_step'] == 7"
check 'slices give the same bytes' cmp two.fewbit slice.fewbit

# one process continues what two began
together 0 'a slice of two' "${train[@]}" -o mixed.fewbit --time-limit 0.001 -q
run 0 'the rest by one' "${train[@]}" -o mixed.fewbit -q
run 0 'nearly the same network, too' diff one.fewbit mixed.fewbit --data "$CALIB" --limit 8 \
    --threshold 40 -q
PMI_SIZE=2 refuse 4 'a starter of another MPI' 'but MPI knows of one' "${train[@]}" -o x.fewbit

# compressed networks: batch norms measured over all, LSQ's scales, hints, shared levels
tune=(tune "$GLYPHS/glyphs_resnet.onnx" "${data[@]}" --prep "$PREP" --epochs 2 --norms on --rate 0.0005 --distill-layers 0.5)
for method in int4:abits=4 slq:bits=3,steps=2; do
    run 0 "$method, one process" "${tune[@]}" --method "$method" -o "one-$method.fewbit" --log one.csv
    together 0 "$method, two processes" "${tune[@]}" --method "$method" -o "two-$method.fewbit" \
        --log two.csv
    near "$method: the same losses" one.csv two.csv 1e-2
    run 0 "$method: nearly the same network" diff "one-$method.fewbit" "two-$method.fewbit" \
        --data "$CALIB" --limit 8 --threshold 10 -q
done

together 2 'an odd batch' "${train[@]}" -b 31 -o x.fewbit
check 'the sentence says why' grep -q 'a batch of 31 cannot be shared equally by 2 processes' err
"${mpi[@]}" 1 "$FEWBIT" "${train[@]}" -o x.fewbit : -n 1 "$FEWBIT" "${train[@]}" -o x.fewbit \
    --smoothing 0.1 >out 2>err
check 'two processes of two kinds' grep -q 'process 1 of 2 was given another network' err
check 'nothing was left' test ! -e x.fewbit
finish
