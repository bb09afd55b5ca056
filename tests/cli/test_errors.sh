#!/bin/bash
# What can go wrong: one sentence, the documented exit code, nothing lost.
. "$(dirname "$0")/lib.sh"
NET=$GLYPHS/glyphs_resnet.onnx
[ -f "$NET" ] || { skip 'no glyphs networks'; finish; }
make() { compress "$NET" --data "$CALIB" --limit 50 --prep "$PREP" "$@"; }
compress() { "$FEWBIT" compress "$@" >out 2>err; }
make -o good.fewbit || { fail 'compress'; finish; }
sum=$(sha256sum <good.fewbit)
unchanged() { check "$1: nothing lost" test "$(sha256sum <good.fewbit)" = "$sum"; }

# --- damaged and hostile files
size=$(stat -c %s good.fewbit)
for n in 0 1 7 63 64 200 $((size / 2)) $((size - 1)); do
    head -c "$n" good.fewbit >cut.fewbit
    refuse 1 "truncated to $n bytes" . inspect cut.fewbit
done
for at in 0 9 40 70 $((size / 3)) $((size / 2)) $((size - 5)); do
    python3 - "$at" <<'PY'
import sys
b = bytearray(open('good.fewbit', 'rb').read())
b[int(sys.argv[1])] ^= 0x10
open('flip.fewbit', 'wb').write(b)
PY
    "$FEWBIT" verify flip.fewbit -q >out 2>err
    code=$?
    # a flip in padding between sections may be harmless only if the format says so: it does not
    if [ $code -eq 1 ] || [ $code -eq 4 ]; then pass; else fail "bit flip at $at: exit code $code"; fi
    check "bit flip at $at: one sentence" test "$(grep -c '^fewbit: ' err)" = 1
done
: >empty
refuse 1 'empty file' 'empty|not' inspect empty
head -c 5000 /dev/urandom >noise
refuse 1 'noise' . inspect noise
head -c 3000 "$NET" >cut.onnx
refuse 1 'truncated ONNX' . inspect cut.onnx
printf 'hello, this is text\n' >text.onnx
refuse 1 'text as a model' . inspect text.onnx
refuse 1 'missing model' 'No such file' inspect missing.onnx
refuse 1 'a folder as a model' 'folder' inspect "$GLYPHS"
refuse 1 'a device as a model' . inspect /dev/null

# --- an operator that is not supported: code 4, every node named
python3 - <<'PY'
def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])
def field(n, b): return varint(n << 3 | 2) + varint(len(b)) + b
def number(n, v): return varint(n << 3) + varint(v)
def value(name): # float [1, 3, 8, 8]
    dims = b''.join(field(1, number(1, d)) for d in (1, 3, 8, 8))
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, dims)))
node = lambda i, o, op: field(1, field(1, i) + field(2, o) + field(3, b'node_' + op) + field(4, op))
graph = node(b'x', b'a', b'FancyOp') + node(b'a', b'y', b'OtherOp') + field(2, b'g') + \
    field(11, value(b'x')) + field(12, value(b'y'))
open('fancy.onnx', 'wb').write(number(1, 8) + field(7, graph) + field(8, number(2, 13)))
PY
run 4 'unsupported operators' inspect fancy.onnx
check 'the first is listed' grep -q 'FancyOp' err
check 'the second, too' grep -q 'OtherOp' err
check 'nothing on stdout' test ! -s out
run 4 'unsupported operators' compress fancy.onnx --method w8 -o fancy.fewbit
check 'nothing was written' test ! -e fancy.fewbit

# --- data
refuse 1 'missing data' 'No such file|cannot' eval good.fewbit --data missing
mkdir nothing words
refuse 1 'an empty folder' . eval good.fewbit --data nothing
echo hello >words/a.txt && echo world >words/b.doc
refuse 1 'a folder of non-images' . eval good.fewbit --data words
echo hello >words/c.png
refuse 1 'a file that is no image' 'c.png' eval good.fewbit --data words
refuse 1 'text as an image' . run good.fewbit words/a.txt
head -c 300 "$GLYPHS/samples/R-5.png" >cut.png
refuse 1 'a truncated image' 'cut.png' run good.fewbit cut.png
refuse 1 'one bad image among good ones' 'cut.png' run good.fewbit "$GLYPHS/samples/R-5.png" cut.png
refuse 2 'eval without data' '--data' eval good.fewbit
printf 'nowhere/a.png 3\n' >list.txt
refuse 1 'a list of missing images' 'a.png' eval good.fewbit --data list.txt
printf '%s 99\n' "$GLYPHS/samples/R-5.png" >high.txt
refuse 2 'a label out of range' '99' eval good.fewbit --data high.txt
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked && cp "$GLYPHS/samples/R-5.png" locked && chmod 000 locked
    refuse 1 'an unreadable folder' 'ermission' eval good.fewbit --data locked
    cp good.fewbit closed.fewbit && chmod 000 closed.fewbit
    refuse 1 'an unreadable model' 'ermission' inspect closed.fewbit
    mkdir frozen && chmod 555 frozen
    refuse 1 'a folder that cannot be written' 'ermission' compress "$NET" --method w8 -o frozen/x.fewbit
elif command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups test -x "$FEWBIT"; then
    as_nobody() { setpriv --reuid=65534 --clear-groups "$FEWBIT" "$@" >out 2>err; }
    chmod 755 "$WORK" && mkdir locked frozen && chmod 000 locked && chmod 555 frozen
    as_nobody eval good.fewbit --data locked
    check 'an unreadable folder' test $? -eq 1
    check 'an unreadable folder: sentence' grep -q '^fewbit: .*ermission' err
    cp good.fewbit closed.fewbit && chmod 000 closed.fewbit
    as_nobody inspect closed.fewbit
    check 'an unreadable model' test $? -eq 1
    as_nobody compress "$NET" --method w8 -o frozen/x.fewbit
    check 'a folder that cannot be written' test $? -eq 1
    check 'a folder that cannot be written: sentence' grep -q '^fewbit: .*ermission' err
else
    skip 'unreadable folders: root reads everything here'
fi

# --- preprocessing and labels
refuse 2 'no preprocessing' '--prep' eval "$NET" --data "$TEST"
refuse 2 'unknown preset' 'prep' eval "$NET" --data "$TEST" --prep imagnet
refuse 2 'bad key' 'prep' eval "$NET" --data "$TEST" --prep none,sice=32
refuse 1 'missing labels' 'No such file' run good.fewbit "$GLYPHS/samples/R-5.png" --labels missing
printf 'a\nb\n' >two.txt
refuse 2 'too few labels' '36' run good.fewbit "$GLYPHS/samples/R-5.png" --labels two.txt
mkdir pictures && cp "$GLYPHS"/samples/*.png pictures/
refuse 2 'a size that is not the network'"'"'s' '48' eval "$NET" --data pictures --prep imagenet,size=48
refuse 2 'gray for a colour network' . eval "$NET" --data pictures --prep mnist,size=32

# --- methods
refuse 2 'unknown method' 'int9000' compress "$NET" --method int9000 -o x.fewbit
refuse 2 'int8 without data' 'data' compress "$NET" --method int8 -o x.fewbit
check 'nothing was written' test ! -e x.fewbit

# --- outputs
refuse 2 'no output' '-o' compress "$NET" --method w8
refuse 1 'the output exists' '-f replaces' compress "$NET" --method w8 -o good.fewbit
unchanged 'the output exists'
cp good.fewbit in.fewbit
refuse 2 'output is the input' 'is the input' compress in.fewbit --method w4 -o ./in.fewbit -f
ln -s in.fewbit link.fewbit && ln in.fewbit hard.fewbit
refuse 2 'output is the input by a link' 'is the input' compress in.fewbit --method w4 -o link.fewbit -f
refuse 2 'output is the input by a hard link' 'is the input' compress hard.fewbit --method w4 -o in.fewbit -f
check 'the input is whole' cmp good.fewbit in.fewbit
refuse 2 'export onto the input' 'is the input' export in.fewbit -o in.fewbit -f
refuse 1 'output in a missing folder' 'No such file' compress "$NET" --method w8 -o no/where.fewbit
refuse 1 'output is a folder' 'regular' compress "$NET" --method w8 -o words -f
refuse 1 'output is a device' 'regular' compress "$NET" --method w8 -o /dev/full -f
refuse 2 'sensitivity without data' 'needs --data' inspect "$NET" --sensitivity
refuse 2 'bits without sensitivity' 'no effect without --sensitivity' inspect "$NET" --bits 4
refuse 2 'widths that make no sense' 'integers from 2 to 16' inspect "$NET" --sensitivity --bits 4,,3
refuse 2 'a width too far' 'integers from 2 to 16' inspect "$NET" --sensitivity --bits 17
refuse 2 'dry sensitivity' 'exclude each other' inspect "$NET" --sensitivity --dry-run
refuse 1 'JSON over a model' 'leaves it alone' inspect in.fewbit --json=in.fewbit
check 'the model is whole' cmp good.fewbit in.fewbit
compress "$NET" --method w8 -o good2.fewbit && compress "$NET" --method w4 -o good2.fewbit -f
check '-f replaces' test $? -eq 0

# --- a full disk
"$FEWBIT" inspect good.fewbit >/dev/full 2>err
check 'stdout is full: code' test $? -eq 1
check 'stdout is full: sentence' grep -q '^fewbit: .*No space left' err
"$FEWBIT" eval good.fewbit --data "$TEST" --limit 8 --json >/dev/full 2>err
check 'stdout is full, JSON: code' test $? -eq 1
"$FEWBIT" info >&- 2>err
check 'stdout is closed' test $? -eq 1
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=64k tmpfs disk 2>/dev/null; then
    echo precious >disk/net.fewbit
    run 1 'full disk' compress "$NET" --method w8 -o disk/net.fewbit -f -q
    check 'full disk: sentence' grep -Eq '^fewbit: .*(No space left|cannot write)' err
    check 'full disk: the old file is whole' grep -q precious disk/net.fewbit
    check 'full disk: no temporary is left' test "$(ls disk)" = net.fewbit
    run 1 'full disk, export' export good.fewbit -o disk/net.onnx -q
    check 'full disk: no temporary is left' test "$(ls disk)" = net.fewbit
    umount disk
else
    # without a file system of our own: a limit on the file size is the same failed write
    echo precious >disk/net.fewbit
    (ulimit -f 8; trap '' XFSZ; "$FEWBIT" compress "$NET" --method w8 -o disk/net.fewbit -f -q) >out 2>err
    check 'file size limit' test $? -eq 1
    check 'file size limit: sentence' grep -q '^fewbit: ' err
    check 'file size limit: the old file is whole' grep -q precious disk/net.fewbit
    check 'file size limit: no temporary is left' test "$(ls disk)" = net.fewbit
fi
unchanged 'the end'

# --- interruption: code 130, nothing half written
"$FEWBIT" eval good.fewbit --data "$TEST" --batch 1 -j 1 --cpu ref >out 2>err &
pid=$!
sleep 0.4
kill -INT $pid 2>/dev/null
wait $pid
check 'SIGINT in eval' test $? -eq 130
check 'SIGINT in eval: sentence' grep -q '^fewbit: .*interrupted' err
check 'SIGINT in eval: no results' test ! -s out
"$FEWBIT" compress "$NET" --data "$CALIB" --limit 0 --prep "$PREP" -o stop.fewbit -j 1 --cpu ref >out 2>err &
pid=$!
sleep 0.3
kill -INT $pid 2>/dev/null
wait $pid
check 'SIGINT in compress' test $? -eq 130
check 'SIGINT in compress: nothing written' test ! -e stop.fewbit
"$FEWBIT" bench good.fewbit --seconds 20 >out 2>err &
pid=$!
sleep 0.5
kill -INT $pid
wait $pid
check 'SIGINT in bench' test $? -eq 130
finish
