# Paper D: fixed point with widths for each layer, pruning to a tolerance, partial quantisation,
# k-means on fixed-point levels, accumulators that saturate or wrap; nothing is retrained.
# D_JUDGE bounds the CIFAR-10 images that judge (0 = all), D_NETS names the networks.
. scripts/reproduce.d/lib.sh
cifar_judge=${D_JUDGE:-2000}
glyphs=data/glyphs
glyphs_prep=none,scale=255,mean=0.5/0.5/0.5,std=0.25/0.25/0.25,size=32
homogeneous=per=channel,fit=mse,positive=unsigned

# --- tables -----------------------------------------------------------------------------------------

# The rows with the bits of weights, of data, and of both together.
wide_table() {
  judge_all
  add_bits
  echo "| method | weight bits | data bits | bits of a value | bytes | ratio | top-1 | change | top-5 | change | s | MB |"
  echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '$1 == "float" {
    printf "| float | 32 | 32 | 32 | %d | 1.00 | %.2f | | %.2f | | | |\n", $2, $4, $6 }' "$out/rows.tsv"
  awk -F'\t' '{
    gsub(/\|/, "\\|", $1)
    data = $10 > 0 ? sprintf("%.2f", $10) : "32"
    both = $10 > 0 ? sprintf("%.2f", $13) : ""
    printf "| `%s` | %.2f | %s | %s | %d | %.2f | %.2f | %+.2f | %.2f | %+.2f | %s | %s |\n",
           $1, $12, data, both, $2, $3, $4, $5, $6, $7, $8, $9 }' "$out/rows.bits"
}

# Accuracy beside what did not fit its accumulator.
overflow_table() {
  "$fewbit" eval "$net" "$out"/*.fewbit --prep "$judge_prep" --data "$judge" -j "$threads" \
    --limit "$judge_limit" --json -q > "$out/eval.json"
  echo '| method | bytes | top-1 | change | sums that left | outputs clamped | of |'
  echo '|---|---:|---:|---:|---:|---:|---:|'
  jq -r '.models as $m | $m[1:][] | [.file, .bytes, .top1, .top1 - $m[0].top1, .overflows.sums,
         .overflows.outputs, .overflows.of] | @tsv' "$out/eval.json" |
    while IFS=$'\t' read -r file rest; do
      printf '%s\t%s\n' "$(cat "${file%.fewbit}.name")" "$rest"
    done | awk -F'\t' '{ printf "| `%s` | %d | %.2f | %+.2f | %d | %d | %d |\n",
                         $1, $2, $3, $4, $5, $6, $7 }'
}

# The rows with the time of one image on one thread, all files of the table in one interleaved run.
latency_table() {
  judge_all
  "$fewbit" bench "$net" "$out"/*.fewbit -j 1 --seconds 3 --json -q |
    jq -r '.models as $m | $m[] | [.min_ns / 1e6, $m[0].min_ns / .min_ns, .peak_bytes / 1000] | @tsv' |
    paste "$out/rows.tsv" - > "$out/rows.time"
  echo '| method | bytes | ratio | ms | faster | KB to run | top-1 | change | top-5 | change | s | MB |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '{
    name = $1 == "float" ? "float" : "`" $1 "`"
    printf "| %s | %d | %.2f | %.3f | %.2f | %.0f | %.2f | %+.2f | %.2f | %+.2f | %s | %s |\n",
           name, $2, $3, $10, $11, $12, $4, $5, $6, $7, $8, $9 }' "$out/rows.time"
}

# Each hybrid row against one width for all at the same bits of a value: on the line between the two
# neighbouring widths. Behind wide_table.
compare_widths() {
  echo
  echo "Hybrid against one width for all at equal bits of a value, on the line between neighbouring widths:"
  echo
  echo '| method | bits | top-1 | of one width | gain | bytes | of one width | change |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' 'BEGIN { n = 0 }
    $1 ~ /^fixed/ { b = int($13 + 0.5); size[b] = $2; top[b] = $4 }
    $1 ~ /^hybrid/ { name[n] = $1; at[n] = $13; s[n] = $2; a[n++] = $4 }
    END { for (i = 0; i < n; i++) {
        low = int(at[i]); f = at[i] - low
        if (!(low in top) || !(low + 1 in top)) { low = int(at[i] + 0.5); f = 0 }
        if (!(low in top)) continue
        t1 = top[low] * (1 - f) + (f > 0 ? top[low + 1] * f : 0)
        t2 = size[low] * (1 - f) + (f > 0 ? size[low + 1] * f : 0)
        printf "| `%s` | %.2f | %.2f | %.2f | %+.2f | %d | %d | %+.1f%% |\n", name[i], at[i], a[i], t1,
               a[i] - t1, s[i], t2, 100 * (s[i] / t2 - 1) } }' "$out/rows.bits"
  echo
}

# --- parts ------------------------------------------------------------------------------------------

#   $onnx $prep_ $calib_ $judge_ $most: the network at hand; name of the part
part() {
  begin "$onnx" "$prep_" "$calib_" "$judge_" "$work/D/$name.$1" 256
  judge_limit=$most
}

widths() {
  local b
  echo "One width for all against widths by layer; accumulators as wide as cannot overflow, but for \`drop=1\`."
  echo
  part widths
  for b in 8 7 6 5 4; do try "fixed$b:$homogeneous"; done
  try "hybrid:least=3,most=3,mean=4,images=8,overflow=end" "fixed3, as hybrid:least=3,most=3"
  for b in $1; do try "hybrid:mean=$b,images=128,overflow=end"; done
  try "hybrid:drop=1,images=256,overflow=end"
  wide_table
  compare_widths
}

#   the layers of the ends, as exclude= has them
partial() {
  echo "Layers left out, values set aside, k-means on levels of fixed point:"
  echo
  part partial
  try "fixed4:$homogeneous"
  try "fixed4:$homogeneous,exclude=$1"
  try "fixed4:$homogeneous,exclude=$1|$2"
  try w4
  try "w4:outliers=0.01"
  try w3
  try "w3:outliers=0.01"
  try "kmeans4:levels=float"
  try "kmeans4:scale=pow2,level-bits=8 + fixed8"
  try "kmeans4:scale=pow2,level-bits=6 + fixed8"
  try "kmeans3:scale=pow2,level-bits=8 + fixed8"
  try "kmeans3:scale=pow2,level-bits=6 + fixed8"
  wide_table
  echo
}

accumulators() {
  local bits over
  echo "Accumulators, \`fixed8\`: the formats kept (\`sums=keep\`) or fitted to them, counted over the images that judge:"
  echo
  part accumulators
  try fixed8
  for bits in 18 16 14; do
    for over in saturate end wrap; do
      try "fixed8:acc=$bits,sums=keep,overflow=$over"
    done
    try "fixed8:acc=$bits,overflow=wrap"
  done
  overflow_table
  echo
}

pruning() {
  echo "Pruned until the tolerance is used up; ms: least time of one image on one thread, all files in one interleaved run:"
  echo
  part pruning
  try "prune:hist,drop=0.5,comp=bias"
  try "prune:hist,drop=1,comp=bias"
  try "prune:hist,drop=1,comp=obs"
  try "$(cat recipes/prune-hist.txt)" recipes/prune-hist.txt
  try "$(cat recipes/paper-d.txt)" recipes/paper-d.txt
  latency_table
  echo
}

cat <<'TEXT'
## D: pruning by histogram, fixed point with widths by layer

Al-Hami and others 2020 (METHODS D): incremental pruning, hybrid, partial and k-means quantisation without
retraining, with accumulators modelled to the bit; only the abstract was to be had, which has no tables. Essays:
[prune](methods/prune.md), [hybrid](methods/hybrid.md), [fixed](methods/fixed.md), [levels](methods/levels.md).
Weight bits and data bits: means over weights and over values that lie between layers; bits of a value: over both,
which is the cost that hybrid is given. Calibrated on 256 training images, judged on others.
Seconds and MB (peak resident) are those of `fewbit compress`, tuning included.

TEXT
threads_line
echo
for name in ${D_NETS:-glyphs_plain resnet20 lenet5 vgg_small}; do
  case $name in
  glyphs_plain)
    onnx=$glyphs/glyphs_plain.onnx prep_=$glyphs_prep most=0
    calib_=$glyphs/calib-images-idx4-ubyte.gz judge_=$glyphs/test-images-idx4-ubyte.gz
    echo "### Plain network on glyphs (3,000 test images)"
    echo
    widths "6 5 4 3"
    partial '/0/Conv' '/22/Gemm'
    accumulators
    pruning
    ;;
  resnet20)
    onnx=$data/models/cifar10_resnet20.onnx prep_=cifar10 most=$cifar_judge
    cifar=$(cifar_folder)
    calib_=$cifar/train judge_=$cifar/test
    echo "### ResNet-20 on CIFAR-10 (JPEG; $cifar_judge test images)"
    echo
    widths "5 4 3"
    partial '/conv1/Conv' '/linear/Gemm'
    accumulators
    pruning
    ;;
  lenet5)
    onnx=data/classic/lenet5.onnx prep_=mnist most=0
    calib_=$data/mnist/train-images-idx3-ubyte.gz judge_=$data/mnist/t10k-images-idx3-ubyte.gz
    echo "### LeNet-5 on MNIST"
    echo
    pruning
    ;;
  vgg_small)
    onnx=data/classic/vgg_small.onnx prep_=cifar10 most=$cifar_judge
    cifar=$(cifar_folder)
    calib_=$cifar/train judge_=$cifar/test
    echo "### VGG-style network on CIFAR-10 (JPEG; $cifar_judge test images)"
    echo
    pruning
    ;;
  *)
    echo "reproduce: there is no network '$name' for paper D" >&2
    exit 2
    ;;
  esac
done
