# Shared by the papers of scripts/reproduce: data, rows of a table, sections of docs/RESULTS.md.
. scripts/lib.sh
data=$(realpath -m "${FEWBIT_DATA:-$PWD/../shared/data}")
work=$PWD/build/reproduce
results=docs/RESULTS.md
threads=${THREADS:-0} # 0 = all cores

# Puts a file between the two lines that mark a section; a new section goes to the end.
#   letter file
replace_section() {
  python3 - "$results" "$1" "$2" <<'PY'
import sys
path, letter, section = sys.argv[1:]
text, new = open(path).read(), open(section).read().strip("\n")
head, tail = f"<!-- section {letter} -->", f"<!-- end of {letter} -->"
if head in text:
    before, rest = text.split(head, 1)
    text = before + f"{head}\n{new}\n{tail}" + rest.split(tail, 1)[1]
else:
    text = text.rstrip("\n") + f"\n\n{head}\n{new}\n{tail}\n"
open(path, "w").write(text)
PY
}

# CIFAR-10 comes as an archive of JPEG files; prints the folder of train/ and test/.
cifar_folder() {
  local to=$work/cifar
  if [ ! -f "$to/done" ]; then
    mkdir -p "$to"
    tar -xf "$data/cifar10-jpeg.tar.xz" -C "$to"
    touch "$to/done"
  fi
  dirname "$(find "$to" -maxdepth 3 -type d -name test | head -1)"
}

# What the seconds of a section were measured on. MACHINE_NOTE adds a sentence, such as who else ran.
threads_line() {
  local n=$threads
  [ "$n" != 0 ] || n=$(nproc)
  echo "Seconds: $n thread(s) of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)." \
    "${MACHINE_NOTE:-}"
}

# --- rows: begin, then try each method, then table ------------------------------------------------

#   network.onnx  preprocessing  calibration data  judging data  folder for files  [limit]
# Afterwards judge_prep may name another preprocessing, judge_limit the most images that judge.
begin() {
  net=$1 prep=$2 calib=$3 judge=$4 out=$5 limit=${6:-500}
  judge_prep=$prep judge_limit=0
  rm -rf "$out"
  mkdir -p "$out"
  tried=0
}

# Compresses by one method; a file for the result, one for the name of the row, one for the cost.
#   method text  [what the table calls it]
try() {
  local at
  at=$(printf '%s/%03d' "$out" "$tried")
  echo "${2:-$1}" > "$at.name"
  python3 scripts/reproduce.d/cost.py "$at.cost" "$fewbit" compress "$net" --data "$calib" \
    -j "$threads" --limit "$limit" --prep "$prep" --method "$1" -q -f -o "$at.fewbit"
  tried=$((tried + 1))
}

# Judges all results and the float network on the judging data: $out/rows.tsv with name, bytes,
# ratio, top-1, change, top-5, change, seconds, MB; the first row is the float network.
judge_all() {
  "$fewbit" eval "$net" "$out"/*.fewbit --prep "$judge_prep" --data "$judge" \
    -j "$threads" --limit "$judge_limit" --json -q |
    jq -r '.models as $m | $m[] | [.file, .bytes, $m[0].bytes / .bytes, .top1,
           .top1 - $m[0].top1, .top5, .top5 - $m[0].top5] | @tsv' |
    while IFS=$'\t' read -r file rest; do
      if [ -f "${file%.fewbit}.name" ]; then
        printf '%s\t%s\t%s\n' "$(cat "${file%.fewbit}.name")" "$rest" \
          "$(cat "${file%.fewbit}.cost")"
      else
        printf 'float\t%s\t\t\n' "$rest"
      fi
    done > "$out/rows.tsv"
}

# Behind each row of $out/rows.tsv: mean bits of the activations, their bytes for an image, mean bits
# of the weights, of both together. Without the float network: $out/rows.bits.
add_bits() {
  for file in "$out"/*.fewbit; do
    "$fewbit" inspect "$file" --json | python3 scripts/reproduce.d/mean_bits.py
  done | paste <(grep -v '^float' "$out/rows.tsv") - > "$out/rows.bits"
}

# The rows as a Markdown table.
table() {
  echo '| method | bytes | ratio | top-1 | change | top-5 | change | s | MB |'
  echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|'
  awk -F'\t' '{
    name = $1 == "float" ? "float" : "`" $1 "`"
    printf "| %s | %d | %.2f | %.2f | %+.2f | %.2f | %+.2f | %s | %s |\n",
           name, $2, $3, $4, $5, $6, $7, $8, $9 }' "$out/rows.tsv"
}

# The smallest result that loses at most so many points of top-1, in a sentence.
best_within() {
  awk -F'\t' -v most="$1" '$1 != "float" && -$5 <= most + 1e-9 && $3 > ratio {
      ratio = $3; name = $1; change = $5 }
    END { if (ratio) printf "Smallest within %s point of top-1: %.2f times smaller at %+.2f, by `%s`.\n",
                            most, ratio, change, name
          else printf "Nothing stays within %s point of top-1.\n", most }' "$out/rows.tsv"
}
