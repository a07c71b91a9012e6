"""Sets made through a purifier, and the accuracy that they leave together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, write_digits
from in_this_process import perturb_here
from small_stack import SPEC, small_stack

from jobs import purification
from jobs.perturb import main as perturb
from jobs.perturb.config import PerturbConfig
from jobs.purification import PurificationConfig
from jobs.verify import VerifyConfig
from jobs.verify import main as verify
from pipeline.classifier import save_classifier
from pipeline.errors import UserError
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.set import open_perturbation_set
from pipeline.stack import save_stack

ROWS = 5
DIGITS = {"classes": CLASSES, "condition": replace(SPEC.condition, size=len(CLASSES))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a classifier, a stack, and the sets of a whole protocol."""
    path = tmp_path_factory.mktemp("purification")
    write_digits(path / "dataset")
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    # A kind purifier: its network adds little to what the preconditioning does.
    stack = small_stack(rows_per_call=64, **DIGITS)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.mul_(0.05)
    save_stack(stack, {}, path / "stack", {})
    with pytest.MonkeyPatch.context() as patched:
        perturb_here(patched)
        for name, how in {
            "eot_2": {"attack": "apgd_ce", "steps": 3, "eot_draws": 2},
            "eot_4": {"attack": "apgd_ce", "steps": 3, "eot_draws": 4},
            "square": {"attack": "square", "steps": 4, "eot_draws": 2},
        }.items():
            perturb(config_of(path, name, **through(path), **how))
        perturb(config_of(path, "transfer", attack="pgd", steps=3))
    return path


def through(path: Path) -> dict[str, object]:
    return {"through": "purifier", "stack": path / "stack", "purifier_layers": 2}


def config_of(path: Path, name: str, **how: object) -> PerturbConfig:
    common = {"dataset": path / "dataset", "classifier": str(path / "classifier"), "eps": 40 / 255}
    return PerturbConfig(**common, output=path / name, limit=ROWS, **how)  # type: ignore[arg-type]


def judging(path: Path, output: str, sets: list[str], **more: object) -> PurificationConfig:
    return PurificationConfig(
        dataset=path / "dataset",
        classifier=str(path / "classifier"),
        stack=path / "stack",
        sets=tuple(path / name for name in sets),
        output=path / output,
        **{"purifier_layers": 2, "purifications": 6, **more},  # type: ignore[arg-type]
    )


WHOLE = ["eot_4", "square", "transfer", "eot_2"]


def test_a_set_through_a_purifier_names_both_and_tells_no_accuracy(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_perturbation_set(made / "eot_2")
    model = opened.manifest["model"]
    assert (model["through"], model["purifier_layers"]) == ("purifier", 2)
    assert model["sha256"] not in (model["stack_sha256"], model["classifier_sha256"])
    with pytest.MonkeyPatch.context() as patched:
        perturb_here(patched)
        config = config_of(made, "again", **through(made), attack="pgd", steps=1, eot_draws=2)
        perturb(config)
    said = capsys.readouterr().out
    assert "no single set says" in said
    assert "accuracy 9" not in said


def test_a_set_through_a_purifier_is_verified_with_its_stack(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = {"dataset": made / "dataset", "classifier": str(made / "classifier")}
    assert verify(VerifyConfig(directory=made / "eot_2", stack=made / "stack", **how)) == 0
    with pytest.raises(UserError, match="give --stack"):
        verify(VerifyConfig(directory=made / "eot_2", **how))


def test_the_whole_protocol_gives_a_table_and_a_verdict(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    purification.main(judging(made, "judged", WHOLE))
    report = read_json(made / "judged" / "purification.json")
    roles = [row["role"] for row in report["table"]]
    assert roles == ["clean", "adaptive", "square", "transfer", "adaptive"]
    assert report["curve"]["draws"] == [2, 4]
    assert all(row["purifications"] == 6 and row["rows"] == ROWS for row in report["table"])
    together = report["all_attacks"]
    said = capsys.readouterr().out
    if report["curve"]["flat"]:
        assert together["majority_accuracy"] <= min(r["majority_accuracy"] for r in report["table"])
        assert "all attacks together" in said
    else:
        assert together is None
        assert "no single number" in said


def test_a_part_of_the_protocol_gives_no_number(made: Path) -> None:
    for left_out, named in (
        ("eot_2", "whose --eot-draws differ"),
        ("square", "--attack square"),
        ("transfer", "without --through"),
    ):
        sets = [name for name in WHOLE if name != left_out]
        with pytest.raises(UserError, match=f"no accuracy stands on these sets alone.*{named}"):
            purification.main(judging(made, "partial", sets))
        assert not (made / "partial").exists()


def test_a_set_through_another_purifier_is_refused(made: Path) -> None:
    with pytest.raises(UserError, match="through another purifier"):
        purification.main(judging(made, "other", WHOLE, purifier_layers=3))


def test_one_draw_through_a_purifier_is_refused_as_chance(made: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        perturb_here(patched)
        with pytest.raises(UserError, match="randomised, and one draw proves nothing"):
            perturb(config_of(made, "one", **through(made), attack="pgd", steps=1))
        with pytest.raises(UserError, match="needs --stack"):
            perturb(config_of(made, "one", through="purifier", attack="pgd", eot_draws=2))
