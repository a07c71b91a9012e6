#!/usr/bin/env bash
# torchattacks 3.5.1: APGD, FAB and Square set torch's global generator to 0 in every call, whatever
# the caller has seeded, so two seeds give one set of pictures, and draws that a caller makes
# afterwards are always the same; AutoAttack sets it by the clock, so one seed gives two states.
# Expected: an attack draws from the generator as it finds it (as its PGD does), or from its own.
# Exits with 0 while it is so, with 1 once the behaviour has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 numpy scipy tqdm requests
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1
"$place/venv/bin/python" - <<'PYTHON'
import contextlib, io, sys, types
from importlib.metadata import version

import torch
import torchattacks
from torch import nn

print("torchattacks", version("torchattacks"), "torch", torch.__version__)
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
x = torch.rand(4, 3, 8, 8)
y = model(x).argmax(dim=1)


def seeds(name, **options):
    found = []
    for seed in (77, 78):
        torch.manual_seed(seed)
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(torchattacks, name)(model, **options)(x, y)
        found.append(torch.initial_seed())
    return found


said = {
    "PGD": seeds("PGD"),
    "APGD": seeds("APGD"),
    "FAB": seeds("FAB", n_classes=4),
    "Square": seeds("Square", n_queries=20),
    "AutoAttack": seeds("AutoAttack", n_classes=4),
}
for name, found in said.items():
    print(f"{name}: the global seed was 77, then 78; after a call it is {found[0]}, then {found[1]}")
as_found = said["PGD"] == [77, 78] and all(
    said[name] == [0, 0] for name in ("APGD", "FAB", "Square")
) and not set(said["AutoAttack"]) & {77, 78}
sys.exit(not as_found)
PYTHON
