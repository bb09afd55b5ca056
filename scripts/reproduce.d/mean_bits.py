"""Reads `fewbit inspect --json`; prints the mean bits of the activations that lie encoded between
layers and their bytes for one image."""
import json
import re
import sys

bits = elems = 0
for layer in json.load(sys.stdin)["model"]["layers"]:
    width = re.match(r"(?:affine|levels)(\d+)", layer["activation"] or "")
    if not width or layer["op"] == "reshape":
        continue
    n = 1
    for dim in layer["output"].split("x"):
        n *= 1 if dim == "N" else int(dim)
    bits += n * int(width.group(1))
    elems += n
print(f"{bits / max(elems, 1):.3f}\t{bits / 8:.0f}")
