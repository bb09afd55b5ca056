# Paper B and its successors: weights that come to share values while the network learns, beside
# what else learns in few bits; every row with the same epochs, images and augmentation. Rows take
# hours: each is kept when it is done, an interrupted one goes on, and the section shows what there
# is. B_NETS names the networks, B_EPOCHS the passes of each row, B_SEEDS the seeds of ResNet-8,
# B_ROWS a pattern of the rows to train now (all; none: only the table).
. scripts/reproduce.d/lib.sh
nets=${B_NETS:-scratch resnet20 resnet8}
epochs=${B_EPOCHS:-6}
seeds=${B_SEEDS:-0 1 2}
rows=${B_ROWS:-.}

cifar=$(cifar_folder)
common=(--data "$cifar/train" --prep cifar10 --augment crop=4,flip -j "$threads" -q)

# Trains one row, unless it is there: file, then what `fewbit` is to do.
learn() {
  local file=$1
  shift
  [ -f "$file" ] && return
  "$fewbit" "$@" "${common[@]}" -o "$file.part" --state "$file.state" --log "${file%.fewbit}.csv" -f
  mv "$file.part" "$file"
}

#   folder  seed  name  method  [options]
row() {
  local folder=$1 seed=$2 name=$3 method=$4
  shift 4
  grep -qE -- "$rows" <<<"$name" || return 0
  mkdir -p "$folder"
  echo "$method${*:+ $*}" > "$folder/$name.method"
  learn "$folder/$name.fewbit" tune "$folder/../base.$seed.fewbit" ${method:+--method "$method"} \
    --teacher none --optimizer nesterov --epochs "$epochs" --rate 0.01 --seed "$seed" "$@"
}

all_rows() { # folder, seed
  row "$1" "$2" 00-float ""
  for b in 5 4 3; do
    row "$1" "$2" "1$((5 - b))-slq$b" "slq:bits=$b"
    row "$1" "$2" "2$((5 - b))-eslq$b" "eslq:bits=$b"
    row "$1" "$2" "3$((5 - b))-inq$b" "inq:bits=$b"
  done
  row "$1" "$2" 13-slq4-16 "slq:bits=4,values=16"
  row "$1" "$2" 14-slq3-8 "slq:bits=3,values=8"
  row "$1" "$2" 40-mlq3 "mlq:bits=3"
  row "$1" "$2" 41-mlq2 "mlq:bits=2"
  row "$1" "$2" 42-mlq-ternary "mlq:bits=2,values=3"
  row "$1" "$2" 43-ternary-at-once "slq:bits=2,values=3,steps=1"
  row "$1" "$2" 44-twn "twn"
  row "$1" "$2" 45-ttq "ttq"
  row "$1" "$2" 50-w4a4 "int4:abits=4"
  row "$1" "$2" 51-w2a2 "int2:abits=2"
  row "$1" "$2" 60-qcnn "pq:d=8,k=128,layers=conv,exclude=/conv1/Conv + ec"
  row "$1" "$2" 61-qcnn-fast "pq:d=8,k=16,stages=2,scale=channel,layers=inner + ec"
  if [ -f "$1/61-qcnn-fast.fewbit" ] && [ ! -f "$1/62-qcnn-fast-lut.fewbit" ]; then
    "$fewbit" compress "$1/61-qcnn-fast.fewbit" --method "int8 + lut" --data "$cifar/train" --limit 500 -q \
      -o "$1/62-qcnn-fast-lut.fewbit"
    echo "$(cat "$1/61-qcnn-fast.method"), then int8 + lut" > "$1/62-qcnn-fast-lut.method"
  fi
}

# name, method, bytes, top-1 of each seed's file, and of its float row
judge_rows() { # folder of one seed
  "$fewbit" eval "$1"/*.fewbit --data "$cifar/test" --prep cifar10 -j "$threads" --json -q |
    jq -r '.models[] | [.file, .bytes, .top1] | @tsv' |
    while IFS=$'\t' read -r file bytes top1; do
      name=$(basename "$file" .fewbit)
      printf '%s\t%s\t%s\t%s\n' "$name" "$(cat "$1/$name.method")" "$bytes" "$top1"
    done
}

# Mean and spread (largest less smallest) over seeds; change against the float row.
table_of() {
  echo '| method | bytes | ratio | top-1 | change | spread | seeds |'
  echo '|---|---:|---:|---:|---:|---:|---:|'
  sort "$@" | awk -F'\t' '
    !($1 in n) { order[++k] = $1; method[$1] = $2; lo[$1] = 101; hi[$1] = -1 }
    { n[$1]++; bytes[$1] += $3; top[$1] += $4
      if ($4 < lo[$1]) lo[$1] = $4
      if ($4 > hi[$1]) hi[$1] = $4 }
    END { f = order[1]
      for (i = 1; i <= k; i++) { r = order[i]
        printf "| %s | %d | %.2f | %.2f | %+.2f | %.2f | %d |\n",
               method[r] == "" || i == 1 ? "float" : "`" method[r] "`", bytes[r] / n[r],
               (bytes[f] / n[f]) / (bytes[r] / n[r]), top[r] / n[r],
               top[r] / n[r] - top[f] / n[f], hi[r] - lo[r], n[r] } }'
  echo
}

network() { # title, name, seeds
  local folder=$work/B/$2 seed
  echo "### $1"
  echo
  rm -f "$folder"/rows.*
  for seed in $3; do
    all_rows "$folder/$seed" "$seed"
    if [ -f "$folder/$seed/00-float.fewbit" ]; then
      judge_rows "$folder/$seed" > "$folder/rows.$seed"
    fi
  done
  if compgen -G "$folder/rows.*" > /dev/null; then
    table_of "$folder"/rows.*
  else
    echo "Not trained yet."
    echo
  fi
}

# ResNet-20 from fresh weights, by us and by PyTorch, 15 epochs of one cycle.
scratch() {
  local folder=$work/B/scratch ours
  mkdir -p "$folder"
  learn "$folder/fewbit.fewbit" train resnet20 --epochs 15 --rate 0.1
  [ -f "$folder/torch" ] ||
    python3 scripts/reproduce.d/train_peer.py --data "$cifar" --epochs 15 --threads "$threads" \
      --state "$folder/torch.state" > "$folder/torch.part"
  [ -f "$folder/torch" ] || mv "$folder/torch.part" "$folder/torch"
  ours=$("$fewbit" eval "$folder/fewbit.fewbit" --data "$cifar/test" --prep cifar10 --json -q |
    jq '.models[0].top1')
  echo "ResNet-20 from fresh weights, 15 epochs of one cycle up to 0.1 and down, sgd: fewbit" \
    "$(printf %.2f "$ours"), PyTorch $(cat "$folder/torch") (top-1 of the test images)."
  echo
}

cat <<TEXT
## B: weights that come to share values

Xu and others 2018 (METHODS B) and its successors. Every row starts from the same float network and learns for
$epochs epochs on the 50,000 CIFAR-10 training images (JPEG), crop and flip, nesterov, rate 0.01 by cosine, which runs
anew in each phase of a method; judged on the 10,000 test images by the kernels that ship. The float row is the
control: the same network, the same epochs, no bits taken. All layers are encoded, the first and the last too, unless
the row excludes them. Weights alone are encoded but in the rows with activation bits (\`a4\`, \`abits\`). Ratio: bytes of
the float file over bytes of ours. Essay: [slq](methods/slq.md).

TEXT
for name in $nets; do
  folder=$work/B/$name
  mkdir -p "$folder"
  case $name in
  scratch) scratch ;;
  resnet20)
    learn "$folder/base.0.fewbit" tune "$data/models/cifar10_resnet20.onnx" --optimizer nesterov --epochs 10 --rate 0.02 --schedule one-cycle
    network "ResNet-20" resnet20 0
    ;;
  resnet8)
    for seed in $seeds; do
      learn "$folder/base.$seed.fewbit" train resnet8 --optimizer nesterov --epochs 30 --rate 0.2 --seed "$seed"
    done
    network "ResNet-8, from scratch" resnet8 "$seeds"
    ;;
  *)
    echo "reproduce: there is no network '$name' for paper B" >&2
    exit 2
    ;;
  esac
done
