#!/bin/bash
# fewbit compress --max-drop and --max-size as a user meets them: bounds kept or missed, a search
# continued, and what is refused.
. "$(dirname "$0")/lib.sh"
net=$GLYPHS/glyphs_plain.onnx
search=(compress "$net" --data "$CALIB" --prep "$PREP" --limit 96 --threads 2)

run 0 'smallest within a point' "${search[@]}" --max-drop 1% -o net.fewbit --json
json "r['finished'] and r['bytes'] < 0.2 * r['bytes_in'] and r['images'] == r['search_images'] == 32"
json "r['drop'] == r['float_top1'] - r['top1'] <= 1 and 0 <= r['drop_margin'] < 20"
json "[0 < r['bytes'] - t['bytes'] < 256 for t in r['trials'] if t['best']] == [True]"
json "len({t['method'] for t in r['trials']}) == len(r['trials'])"
check 'the size is that of the file' \
    test "$(python3 -c "import json; print(json.load(open('out'))['bytes'])")" -eq "$(stat -c %s net.fewbit)"
run 0 'verify' verify net.fewbit -q
run 0 'inspect' inspect net.fewbit --json
json "r['model']['notes']['source'] == 'glyphs_plain.onnx'"
json "r['model']['notes']['method'].endswith(' + int8:bias=keep + gptq')"
json "r['model']['notes']['accuracy.images'] == '32'"

# the same command finds it again without work
cp net.fewbit first.fewbit
run 0 'the folder knows it all' "${search[@]}" --max-drop 1% -o net.fewbit -f -v
check 'the same file' cmp net.fewbit first.fewbit
check 'trials are listed' grep -q '^  \*.*KL' err
check 'how sure it is' grep -q '95% confidence' err

# what else it found
run 0 'the front' search net.fewbit.search --json
json "r['front'][0]['bytes'] < r['front'][-1]['bytes'] and r['front'][0]['loss'] > r['front'][-1]['loss']"
json "len(r['front']) <= r['trials']"
cp out front.json
run 0 'a table' search net.fewbit.search
check 'as many rows' test "$(grep -c gptq out)" -eq "$(python3 -c "import json; print(len(json.load(open('front.json'))['front']))")"
run 0 'pick' search net.fewbit.search --pick 2 -o picked.fewbit
check 'its size' test "$(stat -c %s picked.fewbit)" -eq \
    "$(python3 -c "import json; print(json.load(open('front.json'))['front'][1]['bytes'])")"
run 0 'it runs' verify picked.fewbit -q
refuse 2 'beyond the front' 'has [0-9]+ networks' search net.fewbit.search --pick 99 -o x.fewbit
refuse 2 'nowhere to write' 'belong together' search net.fewbit.search --pick 1
refuse 2 'no folder of a search' 'no search was kept' search .

# a slice at a time, judged by other images in the end
for _ in $(seq 30); do
    run 0 'a slice' "${search[@]}" --max-drop 1% --time-limit 0.000001 -o slice.fewbit -f --json
    grep -q '"finished": *true' out && break
done
check 'slices give the same network' cmp first.fewbit slice.fewbit
run 0 'other images judge' "${search[@]}" --max-drop 1% --eval "$TEST" --json -o judged.fewbit
json "r['images'] == 3000 and r['drop'] <= 1 and 0 < r['drop_margin'] < 2"

run 0 'best within a size' "${search[@]}" --max-size 70K -o sized.fewbit -q
check 'no larger' test "$(stat -c %s sized.fewbit)" -le 70000
run 3 'both bounds, too small' "${search[@]}" --max-drop 0.5 --max-size 1000 -o none.fewbit -q
check 'nothing was written' test ! -e none.fewbit
refuse 3 'a drop of nothing' 'lost was found' "${search[@]}" --max-drop 0 -o none.fewbit -q

refuse 2 'no number' 'points of accuracy' "${search[@]}" --max-drop one -o x.fewbit
refuse 2 'no size' 'as 250000' "${search[@]}" --max-size 12G -o x.fewbit
refuse 2 'a method, too' 'exclude each other' "${search[@]}" --max-drop 1 --method int8 -o x.fewbit
refuse 2 'a dry run' 'exclude each other' "${search[@]}" --max-drop 1 --dry-run -o x.fewbit
refuse 2 'no images' 'needs --data' compress "$net" --max-drop 1 -o x.fewbit
refuse 2 'time without a search' 'no effect without' "${search[@]}" --time-limit 3 -o x.fewbit
refuse 2 'two images for three parts' 'none for part 3 of 3' compress "$net" --data "$CALIB" \
    --prep "$PREP" --limit 2 --max-drop 1 -o x.fewbit -q
refuse 2 'the folder of another search' 'belongs to a search' compress "$net" --data "$TEST" \
    --prep "$PREP" --limit 96 --max-drop 1 --state net.fewbit.search -o x.fewbit -q
finish
