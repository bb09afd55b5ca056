# Shared by scripts/demo and scripts/accuracy: one network compressed, judged and timed.
fewbit=$PWD/build/fewbit

build_fewbit() {
  scripts/setup
  cmake -S . -B build -G Ninja >/dev/null
  cmake --build build -j "$(nproc)" --target fewbit_command -- --quiet
}

table_head() {
  printf '%-24s %8s %8s %8s %9s %9s %7s %8s %8s %7s\n' network 'float %' 'int8 %' change \
    'float KB' 'int8 KB' size 'float ms' 'int8 ms' faster
}

# Compresses to int8 and prints one table row; judging images never calibrate.
#   network.onnx  calibration data  judging data  out.fewbit  [options of compress, such as --prep]
row() {
  local onnx=$1 calib=$2 judge=$3 out=$4
  shift 4
  "$fewbit" compress "$onnx" --data "$calib" --method "${METHOD:-int8}" -q -f -o "$out" "$@"
  local eval bench
  # The float network has no preprocessing of its own: it takes that of the file.
  eval=$("$fewbit" eval "$onnx" "$out" --data "$judge" --json -q "${PREP[@]}")
  bench=$("$fewbit" bench "$onnx" "$out" -j 1 --json -q)
  jq -rn --argjson e "$eval" --argjson b "$bench" --arg name "$(basename "$onnx" .onnx)" '
    $e.models as [$f, $q] | $b.models as [$tf, $tq]
    | [$name, $f.top1, $q.top1, $q.top1 - $f.top1, $f.bytes / 1000, $q.bytes / 1000,
       100 * $q.bytes / $f.bytes, $tf.median_ns / 1e6, $tq.median_ns / 1e6,
       $tf.median_ns / $tq.median_ns] | @tsv' |
    awk -F'\t' '{ printf "%-24s %8.2f %8.2f %+8.2f %9.1f %9.1f %6.1f%% %8.3f %8.3f %6.2fx\n",
                  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 }'
}
