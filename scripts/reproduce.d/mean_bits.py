"""Reads `fewbit inspect --json`; prints the mean bits of the activations that lie encoded between
layers, their bytes for one image, the mean bits of the weights, and of weights and activations."""
import json
import re
import sys


def width(text):
    """affine5, levels4, Q3.4 (with a sign bit), UQ4.4; 32 for anything else."""
    fixed = re.match(r"(U?)Q(-?\d+)\.(-?\d+)", text)
    if fixed:
        return (fixed[1] == "") + int(fixed[2]) + int(fixed[3])
    coded = re.match(r"(?:affine|levels)(\d+)", text)
    return int(coded[1]) if coded else 32


data_bits = data_elems = weight_bits = weights = 0
for layer in json.load(sys.stdin)["model"]["layers"]:
    if layer["weights"]:
        weight_bits += layer["params"] * width(layer["weights"])
        weights += layer["params"]
    bits = width(layer["activation"] or "")
    if bits == 32 or layer["op"] == "reshape":
        continue
    n = 1
    for dim in layer["output"].split("x"):
        n *= 1 if dim == "N" else int(dim)
    data_bits += n * bits
    data_elems += n
print(f"{data_bits / max(data_elems, 1):.3f}\t{data_bits / 8:.0f}\t{weight_bits / max(weights, 1):.3f}"
      f"\t{(data_bits + weight_bits) / max(data_elems + weights, 1):.3f}")
