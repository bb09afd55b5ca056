# Paper A: product quantisation without retraining: plain k-means against error correction, GPTVQ and
# permuted channels, at the paper's settings. Networks judge on images that no step saw. A_NETS names
# the networks.
. scripts/reproduce.d/lib.sh
nets=${A_NETS:-resnet20 resnet18}

# The sum over all layers of |error|² / |response|², on 64 of the judging images. Permuted networks
# are compared with the permuted float network.
response_error() { # result.fewbit, its method
  local against=$net
  case $2 in permute:*)
    if [ ! -f "$out/${2%% *}.float" ]; then
      "$fewbit" compress "$net" --method "${2%% *}" -q -f -o "$out/${2%% *}.float"
    fi
    against=$out/${2%% *}.float
    ;;
  esac
  "$fewbit" diff "$against" "$1" --data "$judge" --limit 64 --prep "$judge_prep" --json -q |
    jq '[.layers[] | select(.op == "conv" or .op == "dense") | .relative * .relative] | add'
}

# Judges everything that begin ... try left in $out, and adds the response error to each row.
judge_with_errors() {
  local file
  judge_all
  for file in "$out"/*.fewbit; do
    response_error "$file" "$(cat "${file%.fewbit}.name")"
  done > "$out/errors"
  grep -v '^float' "$out/rows.tsv" | paste - "$out/errors" > "$out/rows.errors"
}

errors_table() {
  echo '| method | bytes | ratio | response error | top-1 | change | s | MB |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '$1 == "float" {
    printf "| float | %d | 1.00 | | %.2f | | | |\n", $2, $4 }' "$out/rows.tsv"
  awk -F'\t' '{
    printf "| `%s` | %d | %.2f | %.3f | %.2f | %+.2f | %s | %s |\n",
           $1, $2, $3, $10, $4, $5, $8, $9 }' "$out/rows.errors"
  echo
  awk -F'\t' '{ error[$1] = $10; top1[$1] = $4 }
    END {
      for (m in error) {
        if (!((m " + ec") in error)) continue
        n++; better += error[m " + ec"] < error[m]; more += top1[m " + ec"] > top1[m]
      }
      printf "`ec` lowers the response error at %d and raises top-1 at %d of %d settings.\n",
             better, more, n }' "$out/rows.errors"
}

#   title  name  network  preprocessing to calibrate, to judge  calibration, judging data
#   pattern of the dense layer  images to calibrate  what else to try behind pq
network() {
  local title=$1 name=$2 dense=$8 dk d k more
  echo "### $title"
  echo
  echo "Convolutions; the dense layer stays in floats:"
  echo
  begin "$data/models/$3.onnx" "$4" "$6" "$7" "$work/A/$name" "$9"
  judge_prep=$5
  for dk in 4/64 6/64 6/128 8/128; do
    d=${dk%/*} k=${dk#*/}
    try "pq:d=$d,k=$k,exclude=$dense"
    try "pq:d=$d,k=$k,exclude=$dense + ec"
    for more in ${10}; do
      case $more in
      gptvq) try "pq:d=$d,k=$k,exclude=$dense + gptvq + ec" ;;
      permute) try "permute:d=$d + pq:d=$d,k=$k,exclude=$dense + gptvq + ec" ;;
      scale) try "pq:d=$d,k=$k,scale=channel,exclude=$dense + gptvq + ec" ;;
      esac
    done
  done
  judge_with_errors
  errors_table
  echo
  echo "The dense layer; convolutions stay in floats:"
  echo
  begin "$data/models/$3.onnx" "$4" "$6" "$7" "$work/A/$name.dense" "$9"
  judge_prep=$5
  for dk in 2/16 3/16 3/32 4/32 1/16; do
    try "pq:d=${dk%/*},k=${dk#*/},include=$dense"
    try "pq:d=${dk%/*},k=${dk#*/},include=$dense + ec"
  done
  judge_with_errors
  errors_table
  echo
}

cat <<'TEXT'
## A: product quantisation with error correction

Wu and others 2016 (METHODS A): vectors of d weights along the input channels from K codewords, 0.75 to 1.5 bits a
weight (log2 K / d); the paper's d/K are 4/64, 6/64, 6/128, 8/128 in convolutions and 2/16 to 4/32 and 1/16 in dense
layers. Essays: [pq](methods/pq.md), [ec, gptvq](methods/ec.md), [permute](methods/permute.md). No retraining.
Response error: the sum over all layers of |error|² / |response|² against the float network, on 64 images that
judge. Ratio: bytes of the ONNX file over bytes of ours. Seconds and MB (peak resident) are those of
`fewbit compress`, on a machine with other work.

TEXT
for name in $nets; do
  case $name in
  resnet20)
    cifar=$(cifar_folder)
    network "ResNet-20 on CIFAR-10 (JPEG)" resnet20 cifar10_resnet20 cifar10 cifar10 \
      "$cifar/train" "$cifar/test" "*Gemm*" 500 "gptvq permute scale"
    ;;
  resnet18)
    network "ResNet-18 on val-work" resnet18 resnet18_pqf imagenet imagenet,resize=0,size=224 \
      "$data/imagenet/calib.txt" "$data/imagenet/val-work.txt" "*Gemm*" 223 ""
    ;;
  *)
    echo "reproduce: there is no network '$name' for paper A" >&2
    exit 2
    ;;
  esac
done
