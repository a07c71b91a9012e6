#!/usr/bin/env bash
# transformers 5.23.0: image processors that give a picture of the size they were given, and another one.
#
# Default processors of deit, mobilenet_v1 and v2, levit and poolformer take a 224x224 picture, enlarge
# it and cut 224x224 out of the middle: the output's shape says that nothing was resized, and a classifier
# that is attacked on the scaled picture is not the one that was trained. ConvNext's does so when its
# size is 224 (crop_pct 0.875), and not at the default of 384. EfficientNet's, told not to resize, divides
# by the deviation twice (include_top). And no settings mean scaling by 1/255, not none: what is
# left out is the class's default.
#
# Ends with 0 while that is so, with 1 once any of it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import logging

import numpy as np
import transformers
from PIL import Image

logging.getLogger("transformers").setLevel(logging.ERROR)


def pixelwise(name, **settings):
    """The output's size, and whether it is a scale and an offset of the picture, by channel."""
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**settings)
    levels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    out = processor(Image.fromarray(levels), return_tensors="np")["pixel_values"][0]
    if out.shape[1:] != (224, 224):
        return out.shape[1:], None, None
    lines = [np.polyfit(levels[..., c].ravel(), out[c].ravel(), 1) for c in range(3)]
    off = max(np.abs(np.polyval(lines[c], levels[..., c]) - out[c]).max() for c in range(3))
    return out.shape[1:], bool(off < 1e-4), lines


print("transformers", transformers.__version__)
small = {"size": {"shortest_edge": 224}}
cases = {
    ("DeiT", ()): False, ("MobileNetV1", ()): False, ("MobileNetV2", ()): False,
    ("Levit", ()): False, ("PoolFormer", ()): False, ("ConvNext", ("small",)): False,
    ("ViT", ()): True,
}
changed = False
for (name, how), due in cases.items():
    size, scaled, _ = pixelwise(name, **(small if how else {}))
    print(f"{name}{' at 224' if how else ''}: 224x224 -> {size[0]}x{size[1]}, only scaled: {scaled}")
    changed |= size != (224, 224) or scaled is not due
_, _, lines = pixelwise("EfficientNet", do_resize=False)
factor = lines[0][0] * 255
print(f"EfficientNet, not resized: factor {factor:.4f} of a deviation of 0.5, which is 1 / 0.5**2")
changed |= not np.isclose(factor, 1 / 0.5**2)
_, _, lines = pixelwise("ViT")
print(f"ViT, nothing said of scaling: factor {lines[0][0] * 255:.4f} of a deviation of 0.5")
changed |= not np.isclose(lines[0][0] * 255, 2)
raise SystemExit(changed)
PYTHON
