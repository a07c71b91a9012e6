#!/usr/bin/env bash
# foolbox 3.3.4: for pictures that they cannot break, L2CarliniWagnerAttack and EADAttack return an
# all-black picture, which was never asked about; where the classifier gives black another class,
# foolbox counts it as adversarial, with a distance of the picture's own norm.
# Expected: the clean picture, and no success, as from DDNAttack.
# Exits with 0 while it is so, with 1 once the behaviour has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy foolbox==3.3.4
"$place/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import foolbox
import torch
from torch import nn

print("foolbox", version("foolbox"), "torch", torch.__version__)


class Bright(nn.Module):
    """Class 1 where the mean is above 1/50: only nearly black pictures are of class 0. A steep
    sigmoid, so that a few steps from a bright picture have next to no gradient to go by."""

    def forward(self, x):
        lead = 20 * torch.sigmoid(400 * (x.flatten(1).mean(dim=1) - 0.02)) - 10
        return torch.stack((torch.zeros_like(lead), lead), dim=1)


torch.manual_seed(0)
model = Bright().eval()
x = 0.25 + torch.rand(4, 3, 8, 8) / 2
y = torch.ones(4, dtype=torch.int64)
assert bool((model(x).argmax(dim=1) == y).all())
wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
found = {}
for name, options in {
    "L2CarliniWagnerAttack": {"binary_search_steps": 2, "steps": 10},
    "EADAttack": {"binary_search_steps": 2, "steps": 10},
    "DDNAttack": {"steps": 10},
}.items():
    attack = getattr(foolbox.attacks, name)(**options)
    _, pictures, success = attack(wrapped, x, foolbox.criteria.Misclassification(y), epsilons=None)
    black, clean = bool((pictures == 0).all()), bool(torch.equal(pictures, x))
    found[name] = (black, clean, int(success.sum()))
    print(f"{name}: black {black}, clean {clean}, called adversarial {int(success.sum())} of 4")
as_found = (
    found["L2CarliniWagnerAttack"] == (True, False, 4)
    and found["EADAttack"] == (True, False, 4)
    and found["DDNAttack"][2] == 0
)
sys.exit(not as_found)
PYTHON
