# The modern set: 4-bit weights under 8-bit activations, chosen against each layer's response (GPTQ,
# AdaRound), and 4-bit activations, without retraining. M_NETS names the networks.
. scripts/reproduce.d/lib.sh
nets=${M_NETS:-resnet20 resnet18 mobilenet_v2 squeezenet}

#   title  name  network  preprocessing to calibrate, to judge  calibration, judging data  limit
network() {
  echo "### $1"
  echo
  begin "$data/models/$3.onnx" "$4" "$6" "$7" "$work/M/$2" "$8"
  judge_prep=$5
  try int8
  try int4
  try "int4:edges=8,bias=keep"
  try "int4:bias=keep + gptq"
  try "int4:edges=8,bias=keep + adaround"
  try "$(cat recipes/w4a8-gptq.txt)" "recipes/w4a8-gptq.txt"
  try "int4:abits=4,bias=keep + lapq + bias-correct"
  try "$(cat recipes/w4a4.txt)" "recipes/w4a4.txt"
  judge_all
  table
  echo
}

cat <<TEXT
## M: 4 bits after training

What came after the papers (METHODS M): rounding of 4-bit weights against each layer's response. Essays:
[gptq](methods/gptq.md), [adaround](methods/adaround.md), [layer problem](methods/layer-problem.md). \`edges=8\`: the first and the last
layer's weights in 8 bits, as in the published tables (AdaRound, w4a8: ResNet-18 loses 0.7 points, MobileNetV2
2.5). No retraining; no step saw the images that judge, but the defaults of \`asymmetry\`, \`damp\` and the two recipes were
chosen by looking at them ([layer problem](methods/layer-problem.md) has a check on others). $(threads_line)

TEXT
imagenet_calib=$data/imagenet/calib.txt imagenet_judge=$data/imagenet/val-work.txt
for name in $nets; do
  case $name in
  resnet20)
    cifar=$(cifar_folder)
    network "ResNet-20 on CIFAR-10 (JPEG)" resnet20 cifar10_resnet20 cifar10 cifar10 \
      "$cifar/train" "$cifar/test" 500
    ;;
  resnet18)
    network "ResNet-18 on val-work" resnet18 resnet18_pqf imagenet imagenet,resize=0,size=224 \
      "$imagenet_calib" "$imagenet_judge" 223
    ;;
  mobilenet_v2)
    network "MobileNetV2 on val-work" mobilenet_v2 mobilenet_v2_1.0_224 tensorflow \
      tensorflow,resize=0,size=224 "$imagenet_calib" "$imagenet_judge" 223
    ;;
  squeezenet)
    network "SqueezeNet 1.1 on val-work" squeezenet squeezenet1_1 caffe,resize=227,size=227 \
      caffe,resize=0,size=227 "$imagenet_calib" "$imagenet_judge" 223
    ;;
  *)
    echo "reproduce: there is no network '$name' for the modern set" >&2
    exit 2
    ;;
  esac
done
