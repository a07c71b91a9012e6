#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0: if the first `with torch.device(...)` of a process is the one
# inside from_pretrained, torch.linspace no longer heeds torch.device for the rest of the process:
# under `with torch.device("meta")` it makes tensors on the CPU, while torch.arange still obeys.
# While a model is built, transformers has another function in the place of torch.linspace; torch
# gathers its list of the functions that take a default device at their first use, once, and so
# keeps the stand-in in that list. A use of torch.device before the load avoids it.
# Expected: after a load torch.linspace makes tensors where torch.device says, as before it.
# Exits with 0 while it is so, with 1 once the behaviour has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 numpy transformers==5.24.0
cat > "$place/look.py" <<'PYTHON'
import sys

import torch
import transformers

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
if sys.argv[2] == "before":
    with torch.device("cpu"):
        torch.empty(0)
transformers.AutoModel.from_pretrained(sys.argv[1])
with torch.device("meta"):
    print(torch.linspace(0, 1, 3).device, torch.arange(3).device)
PYTHON
"$place/venv/bin/python" - "$place" <<'PYTHON'
import subprocess, sys
from importlib.metadata import version

from transformers import BertConfig, BertModel

place = sys.argv[1]
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
BertModel(BertConfig(vocab_size=8, intermediate_size=8, **sizes)).save_pretrained(f"{place}/model")
print("transformers", version("transformers"), "torch", version("torch"))


def devices(when):
    arguments = [sys.executable, f"{place}/look.py", f"{place}/model", when]
    found = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return found.stdout.split()


never, before = devices("never"), devices("before")
print(f"torch.device first used by the load: linspace on {never[0]}, arange on {never[1]}")
print(f"torch.device used before the load:   linspace on {before[0]}, arange on {before[1]}")
sys.exit(not (never == ["cpu", "meta"] and before == ["meta", "meta"]))
PYTHON
