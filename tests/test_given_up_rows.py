"""What a library returns for rows that it cannot break is never taken for more than it is."""

from pathlib import Path

import numpy as np
import pytest
from digit_models import digit_network
from digit_set import CLASSES
from perturbation_faults import write_inputs, write_set

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.own import OwnAttack
from pipeline.classifier import save_classifier
from pipeline.errors import UserError
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.set import write_perturbation_manifest
from pipeline.formats.seal import SEAL
from pipeline.formats.shard import images_of, read_part
from pipeline.verification.directory import verify_directory


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    write_inputs(path)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return path


def made(inputs: Path, output: Path, name: str, norm: Norm, eps: int) -> dict[str, dict]:
    """A set by one of the attacks that behave as libraries do: its warnings by code."""
    write_set(inputs, output, OwnAttack(f"library_like_attacks:{name}", norm, eps, 0))
    return {told["code"]: told for told in read_json(output / "manifest.json")["warnings"]}


@pytest.mark.parametrize(
    ("name", "norm", "eps"),
    [
        ("black", Norm.L2, 0),
        ("black", Norm.LINF, 0),
        ("black_in_ball", Norm.LINF, 150),
        ("black_in_ball", Norm.L2, 900),
        ("black_in_ball", Norm.L1, 4500),
    ],
)
def test_black_pictures_are_counted_and_the_accuracy_without_them_is_told(
    inputs: Path, tmp_path: Path, name: str, norm: Norm, eps: int
) -> None:
    warnings = made(inputs, tmp_path, name, norm, eps)
    manifest = read_json(tmp_path / "manifest.json")
    counts = manifest["counts"]
    tables = [read_part(tmp_path / s["file"], 0, s["num_rows"]) for s in manifest["shards"]]
    black = 0
    for table in tables:
        won = table.column("success").to_numpy()
        clean, stored = images_of(table)[won], images_of(table, "adversarial")[won]
        # The sign step moves no two values of a digit by the same share of what they are.
        darker = (stored <= clean).all(axis=(1, 2, 3))
        black += int(darker.sum())
    assert warnings["trivial"]["count"] == counts["trivial"] == black > 3
    assert warnings["trivial"]["of"] == counts["successes"]
    without = (counts["clean_right"] - counts["successes"] + black) / 60
    assert f"without them the robust accuracy is {without:.2%}" in warnings["trivial"]["text"]
    assert not verify_directory(tmp_path).faults
    manifest["warnings"] = [w for w in manifest["warnings"] if w["code"] != "trivial"]
    del manifest[SEAL]
    write_perturbation_manifest(tmp_path, manifest)
    (line,) = verify_directory(tmp_path).faults.lines()
    assert "leaves out a warning" in line
    assert "of one colour" in line


def test_rows_that_come_back_clean_are_told_as_unmoved_and_nothing_is_said_of_gradients(
    inputs: Path, tmp_path: Path
) -> None:
    warnings = made(inputs, tmp_path, "clean", Norm.LINF, 12)
    assert warnings["unmoved"]["count"] > 10
    assert "came back unmoved" in warnings["unmoved"]["text"]
    assert not any("gradient" in told["text"] for told in warnings.values())
    assert "trivial" not in warnings


@pytest.mark.parametrize("norm", Norm)
def test_an_attack_that_breaks_nothing_in_its_ball_leaves_a_set_of_clean_pictures(
    inputs: Path, tmp_path: Path, norm: Norm
) -> None:
    told = made(inputs, tmp_path / "set", "nothing", norm, 8)
    counts = read_json(tmp_path / "set" / "manifest.json")["counts"]
    assert counts["successes"] == counts["trivial"] == 0
    assert told["unmoved"]["count"] == counts["clean_right"] > 40


def test_a_last_iterate_is_neither_trivial_nor_unmoved(inputs: Path, tmp_path: Path) -> None:
    warnings = made(inputs, tmp_path, "last_iterate", Norm.LINF, 12)
    assert "trivial" not in warnings


def test_rows_that_are_no_numbers_are_refused_with_their_count_and_the_first(
    inputs: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"not finite numbers for \d+ of 38 rows, first row \d+"):
        made(inputs, tmp_path, "nan", Norm.LINF, 12)


def test_noise_as_long_as_the_picture_is_trivial_and_a_faint_pictures_change_is_not() -> None:
    from pipeline.formats.perturbation.trivial_pictures import are_trivial

    generator = np.random.default_rng(0)
    clean = generator.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    noise = generator.integers(0, 256, clean.shape, dtype=np.uint8)
    near = np.clip(clean.astype(int) + generator.integers(-9, 10, clean.shape), 0, 255)
    faint = np.zeros_like(clean)
    faint[:, 0, 0, 0] = 2
    for norm in ("l2", "l1", "linf"):
        assert not are_trivial(clean, near.astype(np.uint8), norm, 0).any()
        assert not are_trivial(faint, faint + near.astype(np.uint8) // 20, norm, 0).any()
    inverted = 255 - clean
    assert are_trivial(clean // 4, inverted, "l2", 0).all()
    assert not are_trivial(clean, noise // 2 + clean // 2, "l2", 0).any()
    assert are_trivial(clean, np.full_like(clean, 77), "l2", 0).all()
    one_pixel = clean[:, :1, :1]
    assert not are_trivial(one_pixel, one_pixel ^ 1, "l2", 0).any()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8), ("l2", 900), ("l1", 2000)])
@pytest.mark.parametrize("colour", [0, 128, 255])
def test_the_balls_point_nearest_to_one_colour_is_trivial_as_the_attacks_own_ball_makes_it(
    norm: str, eps: int, colour: int
) -> None:
    import torch

    from pipeline.attacks.geometry.ball import Ball
    from pipeline.formats.perturbation.trivial_pictures import are_trivial

    generator = np.random.default_rng(1)
    clean = generator.integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    x = torch.from_numpy(clean).permute(0, 3, 1, 2).float() / 255
    ball = Ball(Norm(norm), eps)

    def stored(raw: torch.Tensor) -> np.ndarray:
        held = ball.snap(ball.project(raw, x), x)
        return (held * 255).round().byte().permute(0, 2, 3, 1).numpy()

    assert are_trivial(clean, stored(torch.full_like(x, colour / 255)), norm, eps).all()
    noise = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    assert not are_trivial(clean, stored(noise), norm, eps).any()
