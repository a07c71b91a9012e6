"""What do libraries' attacks return for rows that cannot be broken?

`python -m docs.tables.withstanding_rows` runs each on a classifier whose answer nothing changes,
once with a gradient and once without, and renews the table in docs/own_models.md. It needs the
libraries, which `make bench` installs.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from unittest.mock import patch

import foolbox
import torch
from torch import Tensor, nn

from benchmarks.attackers import (
    with_adv_lib,  # noqa: F401  # it stands in for what adv-lib lacks
    without,
)
from docs.tables.page import as_markdown, replace_table
from pipeline.attacks.engine.counting_model import CountingModel

with without("torchvision", "torchvision.models", "visdom"):
    import adv_lib.attacks
import torchattacks
from pyautoattack.autoattack import AutoAttack

EPS, STEPS, ROWS, CLASSES = 8 / 255, 10, 8, 4
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Unbreakable(nn.Module):
    """Class 0 leads by 9 or more; the others' logits lie in [0, 1] and have a gradient or none."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(192, CLASSES, generator=generator) / 14)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 4]`` of ``[N, 3, 8, 8]``."""
        bounded = torch.sigmoid(self.slope * (x.flatten(1) @ self.weight))
        return bounded + 10 * torch.eye(CLASSES)[0]


def of_foolbox(attack: Callable[[], object], eps: float | None) -> Attack:
    """A library's attack as `perturb` would be given it."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        criterion = foolbox.criteria.Misclassification(y)
        found: Tensor = attack()(wrapped, x, criterion, epsilons=eps)[1]  # type: ignore[operator]
        return found

    return run


def of_torchattacks(name: str, **options: object) -> Attack:
    """The same."""
    return lambda model, x, y: getattr(torchattacks, name)(model, **options)(x, y)


def of_adv_lib(name: str, **options: object) -> Attack:
    """The same."""
    attack = getattr(adv_lib.attacks, name)
    return lambda model, x, y: attack(model, x, y, **options)


def of_pyautoattack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The same."""
    attack = AutoAttack(model, norm="Linf", eps=EPS, version="custom")
    attack.verbose, attack.attacks_to_run = False, ["apgd-ce", "square"]
    attack.apgd.n_iter, attack.square.n_queries = STEPS, STEPS
    found: Tensor = attack.run_standard_evaluation(x, y, batch_size=ROWS)[0]
    return found


_fb = foolbox.attacks
_in_ball, _free = partial(of_foolbox, eps=EPS), partial(of_foolbox, eps=None)
_bounded = {"eps": EPS, "steps": STEPS}
ATTACKS: dict[str, dict[str, Attack]] = {
    "torchattacks": {
        "FGSM": of_torchattacks("FGSM", eps=EPS),
        "BIM": of_torchattacks("BIM", **_bounded),
        "PGD": of_torchattacks("PGD", **_bounded),
        "PGDL2": of_torchattacks("PGDL2", eps=0.5, steps=STEPS),
        "MIFGSM": of_torchattacks("MIFGSM", **_bounded),
        "APGD": of_torchattacks("APGD", **_bounded),
        "APGDT": of_torchattacks("APGDT", n_classes=CLASSES, **_bounded),
        "FAB": of_torchattacks("FAB", n_classes=CLASSES, **_bounded),
        "Square": of_torchattacks("Square", eps=EPS, n_queries=STEPS),
        "AutoAttack": of_torchattacks("AutoAttack", eps=EPS, n_classes=CLASSES),
        "CW": of_torchattacks("CW", steps=STEPS),
        "EADL1": of_torchattacks("EADL1", max_iterations=STEPS),
        "EADEN": of_torchattacks("EADEN", max_iterations=STEPS),
        "DeepFool": of_torchattacks("DeepFool", steps=STEPS),
        "SparseFool": of_torchattacks("SparseFool", steps=STEPS),
        "JSMA": of_torchattacks("JSMA"),
        "OnePixel": of_torchattacks("OnePixel", steps=2, popsize=4),
        "Pixle": of_torchattacks("Pixle", restarts=2, max_iterations=STEPS),
    },
    "foolbox": {
        "LinfFastGradientAttack": _in_ball(_fb.LinfFastGradientAttack),
        "LinfPGD": _in_ball(partial(_fb.LinfPGD, steps=STEPS)),
        "L2PGD": of_foolbox(partial(_fb.L2PGD, steps=STEPS), 0.5),
        "L2CarliniWagnerAttack": _free(
            partial(_fb.L2CarliniWagnerAttack, binary_search_steps=2, steps=STEPS)
        ),
        "EADAttack": _free(partial(_fb.EADAttack, binary_search_steps=2, steps=STEPS)),
        "DDNAttack": _free(partial(_fb.DDNAttack, steps=STEPS)),
        "L2DeepFoolAttack": _free(partial(_fb.L2DeepFoolAttack, steps=STEPS)),
        "LinfDeepFoolAttack": _free(partial(_fb.LinfDeepFoolAttack, steps=STEPS)),
        "L2FMNAttack": _free(partial(_fb.L2FMNAttack, steps=STEPS)),
        "LInfFMNAttack": _free(partial(_fb.LInfFMNAttack, steps=STEPS)),
        "NewtonFoolAttack": _free(partial(_fb.NewtonFoolAttack, steps=STEPS)),
        "SaltAndPepperNoiseAttack": _free(partial(_fb.SaltAndPepperNoiseAttack, steps=STEPS)),
        "LinearSearchBlendedUniformNoiseAttack": _free(
            partial(_fb.LinearSearchBlendedUniformNoiseAttack, steps=STEPS, directions=2)
        ),
    },
    "adv-lib": {
        "pgd_linf": of_adv_lib("pgd_linf", ε=EPS, steps=STEPS),
        "apgd": of_adv_lib("apgd", eps=EPS, norm=float("inf"), n_iter=STEPS),
        "apgd_targeted": of_adv_lib("apgd_targeted", eps=EPS, norm=float("inf"), n_iter=STEPS),
        "fab": of_adv_lib("fab", norm=float("inf"), n_iter=STEPS),
        "carlini_wagner_l2": of_adv_lib("carlini_wagner_l2", max_iterations=STEPS),
        "carlini_wagner_linf": of_adv_lib("carlini_wagner_linf", max_iterations=STEPS),
        "ddn": of_adv_lib("ddn", steps=STEPS),
        "df": of_adv_lib("df", steps=STEPS),
        "fmn": of_adv_lib("fmn", norm=2, steps=STEPS),
        "alma": of_adv_lib("alma", distance="l2", num_steps=STEPS),
        "pdgd": of_adv_lib("pdgd", num_steps=STEPS),
        "pdpgd": of_adv_lib("pdpgd", norm=2, num_steps=STEPS),
        "sigma_zero": of_adv_lib("sigma_zero", num_steps=STEPS),
        "tr": of_adv_lib("tr", p=2, c=CLASSES - 1, iter=STEPS),
        "vfga": of_adv_lib("vfga", targeted=False),
    },
    "pyautoattack": {"apgd-ce, square": of_pyautoattack},
}


def returned(attack: Attack, model: nn.Module, x: Tensor, y: Tensor) -> str:
    """In a word, what comes back for all rows."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = attack(CountingModel(model, x.device), x.clone(), y.clone()).detach()
    except Exception as error:
        return f"raises `{type(error).__name__}`"
    told = sorted({_told(row, clean) for row, clean in zip(found, x, strict=True)})
    return ", ".join(told)


def _told(row: Tensor, clean: Tensor) -> str:
    if not bool(row.isfinite().all()):
        return "**not finite**"
    if float((row - clean).abs().max()) < 1e-5:
        return "clean"
    if float(row.max() - row.min()) < 1e-5:
        return "**black**" if float(row.abs().max()) < 1e-5 else "**of one colour**"
    return "moved"


def seeding(attack: Attack, model: nn.Module, x: Tensor, y: Tensor) -> str:
    """What an attack makes of torch's global seed, as two calls at two times show it."""
    seeds = []
    with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
        for now in (1.7e9, 1.8e9):
            torch.manual_seed(77)
            with patch.object(time, "time", lambda now=now: now), contextlib.suppress(Exception):
                attack(CountingModel(model, x.device), x.clone(), y.clone())
            seeds.append(torch.initial_seed())
    if seeds == [77, 77]:
        return "left alone"
    return f"**set to {seeds[0]}**" if seeds[0] == seeds[1] else "**set by the clock**"


def main() -> None:
    """Runs all and renews the table."""
    torch.manual_seed(0)
    x = torch.rand(ROWS, 3, 8, 8)
    y = torch.zeros(ROWS, dtype=torch.int64)
    sloping, flat = Unbreakable(1.0), Unbreakable(0.0)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library, attacks in ATTACKS.items():
            name = f"{library} {version(library)}"
            for attack, run in attacks.items():
                row = [name, f"`{attack}`"]
                row += [returned(run, model, x, y) for model in (sloping, flat)]
                row.append(seeding(run, sloping, x, y))
                rows.append(row)
                print(*row, sep=" | ", flush=True)
    header = ["library", "attack", "with a gradient", "where it is 0", "torch's global seed"]
    replace_table("own_models.md", "withstanding_rows", as_markdown(header, rows))


if __name__ == "__main__":
    main()
