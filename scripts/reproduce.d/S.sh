# The search: the smallest file within a point of accuracy, for each network. What was tried is kept
# beside the results, so that an interrupted run goes on. S_NETS names the networks, S_DROP the
# points.
. scripts/reproduce.d/lib.sh
nets=${S_NETS:-resnet20 resnet18 squeezenet mobilenet_v2 mobilenet_v1}
drop=${S_DROP:-1}
imagenet=$data/imagenet

#   name  network  preprocessing to search, to judge by  images to search with, to judge by, others
# A row for each judge; images of the first are those of the table's first accuracy.
search() {
  local name=$1 onnx=$data/models/$2.onnx file=$work/S/$1.fewbit
  shift 2
  if [ ! -f "$file.json" ]; then
    local code=0
    python3 scripts/reproduce.d/cost.py "$file.cost" "$fewbit" compress "$onnx" --prep "$1" \
      --data "$3" --eval "$5" --max-drop "$drop" -j "$threads" -q -f -o "$file" \
      --json="$file.part" || code=$?
    [ "$code" = 0 ] || [ "$code" = 3 ] # a drop that is too large on --eval is a result, too
    mv "$file.part" "$file.json"
  fi
  "$fewbit" eval "$onnx" "$file" --prep "$2" --data "$4" -j "$threads" --json -q > "$file.judge"
  jq -rn --arg name "$name" --rawfile cost "$file.cost" --slurpfile r "$file.json" \
    --slurpfile j "$file.judge" '
    def points: . * 100 | round / 100 | tostring;
    def signed: if . > 0 then "+" + points else points end;
    $r[0] as $r | $j[0].models as [$a, $b]
    | (1.96 * ((1 - $b.agreement / 100 - pow(($a.top1 - $b.top1) / 100; 2)) / $b.images | sqrt) * 100) as $margin
    | "| \($name) | \($r.bytes_in) | \($r.bytes) | \($r.bytes_in / $r.bytes | points) | " +
      "\($a.top1 | points) | \($b.top1 - $a.top1 | signed) ± \($margin | points) | " +
      "\($r.float_top1 | points) | \(-$r.drop | signed) ± \($r.drop_margin | points) | " +
      "\($r.trials | length) | \($cost | rtrimstr("\n") | gsub("\t"; " | ")) |"'
}

mkdir -p "$work/S"
cat <<TEXT
## S: the smallest file within a point

\`fewbit compress --max-drop $drop\` ([how](SEARCH.md)): widths of weights for each layer, 8-bit activations, no
retraining. ResNet-20 searches with 1,024 training images and is judged by the 10,000 test images; the others
search with the 223 images of \`calib\`, and are judged by 800 of \`val-work\` (change A) and 300 photos of \`nips17\`
(change B), which no step saw. ±: 95% interval. Seconds and MB (peak resident) are those of the search.

TEXT
threads_line
echo
echo '| network | ONNX | bytes | ratio | float A | change A | float B | change B | networks tried | s | MB |'
echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
for name in $nets; do
  judges="$imagenet/calib.txt $imagenet/val-work.txt $data/nips17/nips17.txt"
  case $name in
  resnet20)
    cifar=$(cifar_folder)
    search ResNet-20 cifar10_resnet20 cifar10 cifar10 "$cifar/train" "$cifar/test" "$cifar/test"
    ;;
  resnet18)
    search ResNet-18 resnet18_pqf imagenet imagenet,resize=0,size=224 $judges
    ;;
  squeezenet)
    search "SqueezeNet 1.1" squeezenet1_1 caffe,resize=227,size=227 caffe,resize=0,size=227 $judges
    ;;
  mobilenet_v2)
    search MobileNetV2 mobilenet_v2_1.0_224 tensorflow tensorflow,resize=0,size=224 $judges
    ;;
  mobilenet_v1)
    search "MobileNetV1 0.25" mobilenet_v1_0.25_128 tensorflow,resize=146,size=128 \
      tensorflow,resize=128,size=128 $judges
    ;;
  *)
    echo "reproduce: there is no network '$name' for the search" >&2
    exit 2
    ;;
  esac
done
