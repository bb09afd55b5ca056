#!/bin/bash
# fewbit beside ONNX Runtime on the same images: floats to 1e-4 of the largest output; compressed
# networks, exported as QDQ, to the bit in every tensor of codes. Glyphs always, the networks of
# FEWBIT_DATA where they are. Needs node with onnxruntime-node: bench/peers/run installs it.
. "$(dirname "$0")/lib.sh"
PEER=$FB_BUILD/tests/test_export
ORT=$FB_SOURCE/bench/peers/ort.mjs
DATA=${FEWBIT_DATA:-$FB_SOURCE/../shared/data}

command -v node >/dev/null || { skip 'no node'; finish; }
(cd "$FB_SOURCE/bench/peers" && node -e 'import("onnxruntime-node")') 2>/dev/null ||
    { skip 'no onnxruntime-node in bench/peers'; finish; }
[ -x "$PEER" ] || { skip 'the C tests were not built'; finish; }
[ -f "$GLYPHS/glyphs_resnet.onnx" ] || { skip 'no glyphs networks'; finish; }

ort() { node "$ORT" run "$1" --input in.raw --out raw >"$2" 2>err; }
# compare NAME MODEL ORT.json TOLERANCE: fewbit's MODEL against what ONNX Runtime gave
compare() {
    if "$PEER" compare "$2" in.raw "$3" "$4" >out 2>err; then pass; else fail "$1"; fi
    echo "$1: $(cat out)"
}
# exact NAME MODEL.fewbit TOLERANCE: the QDQ export in ONNX Runtime, as it is (tolerance of the float
# outputs) and with all codes as outputs; and the export in fewbit
exact() {
    run 0 "$1: export" export "$2" --to onnx -q -f -o q.onnx
    check "$1: tap" "$PEER" tap q.onnx tapped.onnx
    check "$1: ONNX Runtime" ort q.onnx q.json
    check "$1: ONNX Runtime, tapped" ort tapped.onnx tapped.json
    compare "$1, all codes" "$2" tapped.json "$3"
    compare "$1, as exported" "$2" q.json "$3"
    compare "$1, exported and imported" q.onnx q.json "$3"
}
# network NAME NET.onnx PREP CALIBRATION IMAGES N TOLERANCE
network() {
    run 0 "$1: compress" compress "$2" --method int8:bias=keep,entropy=off --data "$4" --limit 8 \
        --prep "$3" -q -f -o net.fewbit
    check "$1: images" "$PEER" input net.fewbit "$5" "$6" in.raw
    check "$1: ONNX Runtime, float" ort "$2" float.json
    compare "$1, float" "$2" float.json 1e-4
    exact "$1, int8" net.fewbit "$7"
}

for net in plain resnet mobile fc; do
    network "glyphs_$net" "$GLYPHS/glyphs_$net.onnx" "$PREP" "$CALIB" "$TEST" 16 0
    run 0 'float export' export "$GLYPHS/glyphs_$net.onnx" -q -f -o float.onnx
    check 'float export: ONNX Runtime' ort float.onnx float.json
    compare "glyphs_$net, exported in float" "$GLYPHS/glyphs_$net.onnx" float.json 1e-4
done
# what the compressor's defaults do not show
for method in int4 'equalize + int8:per=tensor'; do
    run 0 "$method" compress "$GLYPHS/glyphs_resnet.onnx" --method "$method" --data "$CALIB" \
        --limit 40 --prep "$PREP" -q -f -o net.fewbit
    exact "glyphs_resnet, $method" net.fewbit 0
done
check 'shift' "$PEER" shift net.fewbit shifted.fewbit
exact 'clamps inside the codes, 7 bits' shifted.fewbit 0
if "$PEER" compare net.fewbit in.raw tapped.json 0 >out 2>err; then
    fail 'networks that differ are told apart'
else
    pass
fi

# real network NAME; those that end in a convolution of many pixels have floats there, which ONNX
# Runtime computes in float
real() {
    if [ -f "$DATA/models/$1.onnx" ]; then
        network "$1" "$DATA/models/$1.onnx" "$2" "$3" "$4" "$5" "$6"
    else
        skip "$1: not in $DATA"
    fi
}
CALIBRATION=$DATA/imagenet/calib.txt PHOTOS=$DATA/nips17/nips17.txt
real kws_dscnn none "$DATA/kws/x.npy" "$DATA/kws/x.npy" 8 0
real cifar10_resnet8 none,resize=32,size=32 "$CALIBRATION" "$PHOTOS" 4 0
real cifar10_resnet20 cifar10,resize=32,size=32 "$CALIBRATION" "$PHOTOS" 4 0
real mobilenet_v1_0.25_128 tensorflow,size=128 "$CALIBRATION" "$PHOTOS" 2 0
real mobilenet_v2_1.0_224 tensorflow "$CALIBRATION" "$PHOTOS" 2 0
real resnet18_pqf imagenet "$CALIBRATION" "$PHOTOS" 2 0
real squeezenet1_1 caffe "$CALIBRATION" "$PHOTOS" 2 1e-5
finish
