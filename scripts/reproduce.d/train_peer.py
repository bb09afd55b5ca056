#!/usr/bin/python3
"""ResNet-20 on CIFAR-10 from scratch in PyTorch, as `fewbit train resnet20` does it: the same
network, first weights of the same distribution, batches of 128, SGD with momentum 0.9, decay 5e-4 of
weights alone, one cycle up to 0.1 and down, crops with four black pixels, flips. Prints top-1 on the
test images. Goes on from --state when it is run again."""
import argparse
import math
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def load(folder):
    images, labels = [], []
    for label, name in enumerate(sorted(os.listdir(folder))):
        for file in sorted(os.listdir(os.path.join(folder, name))):
            images.append(np.asarray(Image.open(os.path.join(folder, name, file)).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


class Block(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.skip = nn.Identity() if stride == 1 else nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.skip(x))


def resnet20():
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    n_in = 16
    for n_out in (16, 32, 64):
        for block in range(3):
            layers.append(Block(n_in, n_out, 2 if n_out > 16 and block == 0 else 1))
            n_in = n_out
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.normal_(m.weight, 0, math.sqrt(2 / m.weight[0].numel()))
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0, math.sqrt(1 / m.weight[0].numel()))
            nn.init.zeros_(m.bias)
    return net


def normalised(images):
    x = images.float().div_(255)
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def augmented(images):
    padded, out = F.pad(images, (4, 4, 4, 4)), torch.empty_like(images)
    for i in range(len(images)):
        y, x = torch.randint(0, 9, (2,)).tolist()
        crop = padded[i, :, y:y + 32, x:x + 32]
        out[i] = crop.flip(2) if torch.rand(()) < 0.5 else crop
    return out


def accuracy(net, images, labels):
    net.eval()
    with torch.no_grad():
        right = sum(int((net(normalised(images[k:k + 500])).argmax(1) == labels[k:k + 500]).sum())
                    for k in range(0, len(images), 500))
    return 100 * right / len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with train/ and test/")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", required=True)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    images, labels = load(os.path.join(args.data, "train"))
    net = resnet20().to(memory_format=torch.channels_last)
    weights = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    optim = torch.optim.SGD([{"params": weights, "weight_decay": 5e-4}, {"params": others}],
                            lr=0.1, momentum=0.9)
    steps = len(images) // 128
    cycle = torch.optim.lr_scheduler.OneCycleLR(optim, 0.1, args.epochs * steps, cycle_momentum=False)
    first = 0
    if os.path.exists(args.state):
        saved = torch.load(args.state)
        first = saved["epoch"]
        net.load_state_dict(saved["net"])
        optim.load_state_dict(saved["optim"])
        cycle.load_state_dict(saved["cycle"])
    for epoch in range(first, args.epochs):
        torch.manual_seed(args.seed * 1000 + epoch)
        order = torch.randperm(len(images))
        net.train()
        for k in range(steps):
            batch = order[k * 128:(k + 1) * 128]
            x = normalised(augmented(images[batch])).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(x), labels[batch])
            optim.zero_grad()
            loss.backward()
            optim.step()
            cycle.step()
        torch.save({"epoch": epoch + 1, "net": net.state_dict(), "optim": optim.state_dict(),
                    "cycle": cycle.state_dict()}, args.state + ".new")
        os.replace(args.state + ".new", args.state)
    print(f"{accuracy(net, *load(os.path.join(args.data, 'test'))):.2f}")


main()
