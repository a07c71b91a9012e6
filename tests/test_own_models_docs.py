"""The examples in docs/own_models.md run as they stand there."""

import importlib.util
import re
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from linear_models import TwoClassLinear, dual_norm

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.own import OwnAttack, attack_with
from pipeline.importable import import_function

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own_models.md"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The package `mine` of the page's two files, importable under a name of its own."""
    package = f"mine_{tmp_path.name}"
    (tmp_path / package).mkdir()
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        name = re.match(r"# mine/(\w+\.py)\n", block).group(1)
        (tmp_path / package / name).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_the_module_takes_pictures_and_gives_logits(mine):
    assert import_function(f"{mine}.nets:build")()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize(
    ("library", "name", "norm", "eps"),
    [
        ("torchattacks", "torchattacks_pgd", Norm.LINF, 2),
        ("foolbox", "foolbox_ddn", Norm.L2, 0),
        ("adv_lib", "adv_lib_fmn", Norm.L2, 0),
    ],
)
@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_an_adapter_breaks_a_linear_model_as_far_as_can_be(
    mine, library, name, norm, eps, monkeypatch
):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    if library == "adv_lib":  # it imports these for one distance, and to draw curves
        for absent in ("torchvision", "visdom"):
            if importlib.util.find_spec(absent) is None:
                monkeypatch.setitem(sys.modules, absent, MagicMock(__spec__=None))
    generator = torch.Generator().manual_seed(3)
    model = TwoClassLinear(torch.randn(1, 6, 6, generator=generator), 0.0)
    x = torch.randint(102, 154, (9, 1, 6, 6), generator=generator).float() / 255
    model.bias = -float(model.margin(x).median()) + 1e-3
    y = (model.margin(x) > 0).long()
    own = OwnAttack(f"{mine}.attacks:{name}", norm, eps, seed=0)
    found = attack_with(own, model, x, y, torch.arange(9), rows_per_call=4)
    need = model.margin(x).abs() / dual_norm(model.weight, norm)
    assert bool(found.clean_right.all())
    assert int(found.backwards.min()) >= 20
    if eps:
        sure = (need < 0.9 * eps / 255) | (need > eps / 255)
        assert 0 < int((need < 0.9 * eps / 255).sum()) < 9
        assert torch.equal(found.broken[sure], (need < eps / 255)[sure])
    else:
        length = (found.adversarial - x).flatten(1).norm(dim=1)
        assert int(found.broken[need > 0.01].sum()) >= 7  # of eight
        assert bool((length[found.broken] >= need[found.broken]).all())
        assert float((length[found.broken] - need[found.broken]).median()) < 0.02
