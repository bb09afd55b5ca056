# Paper E: activations in few bits without fine-tuning: uniform bits, bits for each layer, evenly
# spaced levels, k-means levels with and without a bound. Networks judge on images that no step saw.
# E_JUDGE bounds the images that judge (0 = all), E_NETS names the networks.
. scripts/reproduce.d/lib.sh
nets=${E_NETS:-resnet20 squeezenet resnet18}

# Table of the float network and of all that begin ... try left in $out.
bits_table() {
  judge_all
  add_bits
  echo '| method | bits | KB an image | bytes | ratio | top-1 | change | top-5 | change | s | MB |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '$1 == "float" {
    printf "| float | 32 | | %d | 1.00 | %.2f | | %.2f | | | |\n", $2, $4, $6 }' "$out/rows.tsv"
  awk -F'\t' '{
    printf "| `%s` | %.2f | %.0f | %d | %.2f | %.2f | %+.2f | %.2f | %+.2f | %s | %s |\n",
           $1, $10, $11 / 1000, $2, $3, $4, $5, $6, $7, $8, $9 }' "$out/rows.bits"
}

# The fewest bits of the rows whose name has a pattern, at most 2 points of $metric lost.
fewest() {
  local column=7
  [ "$metric" = top5 ] || column=5
  awk -F'\t' -v pattern="$2" -v name="$1" -v metric="$column" '$1 ~ pattern && -$metric <= 2 + 1e-9 && (!n++ || $10 < b) {
      b = $10; how = $1; change = $metric }
    END { if (n) printf "| %s | %.2f | %+.2f | `%s` |\n", name, b, change, how
          else printf "| %s | none | | |\n", name }' "$out/rows.bits"
}

summary() {
  echo
  echo "Fewest bits, averaged over activations, at 2 points of $metric or less:"
  echo
  echo "| grid | bits | change of $metric | method |"
  echo '|---|---:|---:|---|'
  fewest 'unit, same bits' 'unit,last=0$'
  fewest 'unit, by layer' 'unit.*auto'
  fewest 'even (ENQ), minimum to maximum' ':even'
  fewest 'even (ENQ), ends of least error' 'affine'
  fewest 'k-means (KNQ), no bound' 'kmeans,last=0$'
  fewest 'k-means (KNQ), bound' 'kmeans.*bound'
  echo
}

# For bits=auto that begin with few: it fails where these lose too much on the calibration images, and
# then the row is left out.
try_where_it_holds() {
  try "$1" || rm -f "$out"/"$(printf %03d "$tried")".*
}

# k-means with the bound against without, by bits.
bound_table() {
  echo "What the bound gains at the same bits, in points:"
  echo
  echo '| bits | top-1 without | with | gain | top-5 without | with | gain |'
  echo '|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '$1 ~ /^act[0-9]+:kmeans/ { b = $1; sub(/^act/, "", b); b += 0
      how = $1 ~ /bound=auto/; one[b, how] = $4; five[b, how] = $6
      if (!(b in seen)) { seen[b] = 1; bits[n++] = b } }
    END { for (i = 0; i < n; i++) { b = bits[i]
        printf "| %d | %.2f | %.2f | %+.2f | %.2f | %.2f | %+.2f |\n", b, one[b, 0], one[b, 1],
               one[b, 1] - one[b, 0], five[b, 0], five[b, 1], five[b, 1] - five[b, 0] } }' "$out/rows.bits"
  echo
}

#   title  name  network  preprocessing to calibrate, to judge  calibration, judging data
#   bits of unit, of even, of kmeans  metric  images that tell harms
network() {
  local title=$1 name=$2 metric=${11} images=${12} b auto
  auto="bits=auto,metric=${11},images=${12},last=0"
  echo "### $title"
  echo
  begin "$data/models/$3.onnx" "$4" "$6" "$7" "$work/E/$name" 223
  judge_prep=$5 judge_limit=${E_JUDGE:-0}
  for b in $8; do try "act$b:unit,last=0"; done
  try "act6:unit,$auto"
  try_where_it_holds "act5:unit,$auto"
  for b in $9; do try "act$b:even,last=0"; done
  try "act7:even,$auto"
  try "act6:affine,$auto"
  for b in ${10}; do
    try "act$b:kmeans,last=0"
    try "act$b:kmeans,bound=auto,images=$images,last=0"
  done
  bits_table
  summary
  bound_table
  echo "Weights of 4 bits and activations of 4, edges at 8:"
  echo
  begin "$data/models/$3.onnx" "$4" "$6" "$7" "$work/E/$name.w4a4" 223
  judge_prep=$5 judge_limit=${E_JUDGE:-0}
  try "int4:abits=4"
  try "act4:kmeans,bound=percentile + int4"
  try "int4:abits=4,bias=keep + lapq:images=$images + bias-correct"
  bits_table
  echo
}

cat <<'TEXT'
## E: nonuniform quantisation of activations

Sun and Lin 2016 (METHODS E): VGG-16's activations in 11 bits (uniform), 10 (by layer), 5.64 (evenly spaced) and 5
(k-means with a bound) within 2 points of top-5 (of CIFAR-10's ten classes
top-1 is judged). `even` is ENQ as published, from minimum to maximum; `affine` is the same grid with ends of least
squared error. Essay: [activations](methods/activations.md). Bits: mean over all
encoded activations, the network's input (8 bits) included; KB an image: what they take together. Weights are
floats except in the last table of each network. Calibrated on 223 images, judged on others; no retraining. Seconds
and MB (peak resident) are those of `fewbit compress`, search included.

TEXT
[ "${E_JUDGE:-0}" = 0 ] || echo "At most $E_JUDGE images judge."
threads_line
echo
for name in $nets; do
  case $name in
  resnet20)
    cifar=$(cifar_folder)
    network "ResNet-20 on CIFAR-10 (JPEG)" resnet20 cifar10_resnet20 cifar10 cifar10 \
      "$cifar/train" "$cifar/test" "6 5 4" "6 5 4" "4 3 2" top1 223
    ;;
  squeezenet)
    network "SqueezeNet 1.1 on val-work" squeezenet squeezenet1_1 caffe,resize=227,size=227 \
      caffe,resize=0,size=227 "$data/imagenet/calib.txt" "$data/imagenet/val-work.txt" \
      "6 5 4" "6 5 4" "4 3 2" top5 64
    ;;
  resnet18)
    network "ResNet-18 on val-work" resnet18 resnet18_pqf imagenet imagenet,resize=0,size=224 \
      "$data/imagenet/calib.txt" "$data/imagenet/val-work.txt" "6 5 4" "6 5 4" "4 3 2" top5 64
    ;;
  *)
    echo "reproduce: there is no network '$name' for paper E" >&2
    exit 2
    ;;
  esac
done
