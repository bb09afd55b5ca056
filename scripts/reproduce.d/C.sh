# Paper C: dense layers of low rank, weights clipped at a dynamic boundary, 8 bits or fewer, without
# retraining, on networks whose weights lie in dense layers. Calibrated on 500 training images,
# judged on all test images. C_NETS names the networks.
. scripts/reproduce.d/lib.sh

# Top-1 by bits and rule, from rows named "BITS RULE".
clip_table() {
  awk -F'\t' '$1 != "float" {
      split($1, name, " "); top1[name[1], name[2]] = $4
      if (!(name[1] in seen)) { seen[name[1]] = 1; bits[n++] = name[1] } }
    END {
      print "| bits | none | kl | mse | aciq | std | accuracy | gain of kl | gain of mse |"
      print "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
      for (i = 0; i < n; i++) {
        b = bits[i]
        printf "| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %+.2f | %+.2f |\n", b,
               top1[b, "none"], top1[b, "kl"], top1[b, "mse"], top1[b, "aciq"], top1[b, "std"],
               top1[b, "accuracy"], top1[b, "kl"] - top1[b, "none"],
               top1[b, "mse"] - top1[b, "none"] } }' "$out/rows.tsv"
}

#   title  network  preprocessing  calibration  judging  name  ranks  rank for the clipping table
network() {
  local title=$1 onnx=$2 prep=$3 calib=$4 judge=$5 name=$6 ranks=$7 rank=$8 bits r by
  echo "### $title"
  echo
  begin "$onnx" "$prep" "$calib" "$judge" "$work/C/$name"
  for r in $ranks; do
    for bits in 8 6 4; do
      try "svd:rank=$r + clip:mse + int$bits"
    done
  done
  try "$(cat recipes/paper-c.txt)" "recipes/paper-c.txt"
  try int8
  judge_all
  table
  echo
  best_within 1
  echo
  echo "Clipping, one scale a layer, no bias correction: top-1 of"
  echo "\`svd:rank=$rank + clip:RULE,per=layer + int<b>:per=tensor,bias=keep\`."
  echo
  begin "$onnx" "$prep" "$calib" "$judge" "$work/C/$name.clip"
  for bits in 8 6 5 4 3; do
    try "svd:rank=$rank + int$bits:per=tensor,weights=minmax,bias=keep" "$bits none"
    for by in kl mse aciq std accuracy; do
      try "svd:rank=$rank + clip:$by,per=layer + int$bits:per=tensor,bias=keep" "$bits $by"
    done
  done
  judge_all
  clip_table
  echo
}

cat <<'TEXT'
## C: space-efficient quantisation

Zhao and others 2019 (METHODS C): up to 14 times smaller at almost the same accuracy, by low rank of the
dense layers, weights of 8 bits or fewer and clipping; its networks and tables were not to be had. Essays:
[svd](methods/svd.md), [clip](methods/clip.md). Ratio: bytes of the ONNX file over bytes of ours, everything
included. Seconds and MB (peak resident) are those of `fewbit compress`, calibration included. No retraining.

TEXT
threads_line
echo
for name in ${C_NETS:-lenet5 vgg_small}; do
  case $name in
  lenet5)
    network "LeNet-5 on MNIST" data/classic/lenet5.onnx mnist \
      "$data/mnist/train-images-idx3-ubyte.gz" "$data/mnist/t10k-images-idx3-ubyte.gz" lenet5 \
      "8 16 32" 16
    ;;
  vgg_small)
    cifar=$(cifar_folder)
    network "VGG-style network on CIFAR-10 (JPEG)" data/classic/vgg_small.onnx cifar10 \
      "$cifar/train" "$cifar/test" vgg_small "24 48 96" 48
    ;;
  *)
    echo "reproduce: there is no network '$name' for paper C" >&2
    exit 2
    ;;
  esac
done
