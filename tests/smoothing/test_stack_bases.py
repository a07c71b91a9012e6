"""Stacks as bases: certified like any other, and refused in one line where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from betrayer import Betrayer, ByBrightness
from blind_stack import STAGES
from digit_models import digit_network
from digit_set import CLASSES, digits, write_digits
from small_stack import SPEC, small_stack

from pipeline.classifier import save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases import BASES
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.denoised import Denoised, OfDenoised, StagedDenoiser
from pipeline.smoothing.settings import CertifySettings
from pipeline.stack import save_stack

DIGITS = {"classes": CLASSES, "condition": replace(SPEC.condition, size=len(CLASSES))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack_bases")
    write_digits(path / "dataset", num_train=20, num_test=10)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    save_stack(small_stack(rows_per_call=16, **DIGITS), {}, path / "stack", {})
    return path


def options(path: Path, info: DatasetInfo | None = None, **other: object) -> BaseOptions:
    given = {"classifier": str(path / "classifier"), "stack": path / "stack", **other}
    return BaseOptions(info or load_dataset(path / "dataset"), **given)  # type: ignore[arg-type]


def opened(path: Path, kind: str) -> SmoothingBase:
    classifier = None if kind == "stack" else str(path / "classifier")
    return BASES[kind].open(options(path, classifier=classifier, looks=(0, 1)), 0.25, "cpu")


@pytest.mark.parametrize("kind", ["denoised", "stack"])
def test_rows_are_certified_alike_together_and_alone(made: Path, kind: str) -> None:
    base, settings = opened(made, kind), CertifySettings(sigma=0.25, n0=4, n=12)
    images, keys = digits()[0][:2], np.array([5, 6])
    together = certify_rows(base, images, keys, settings)
    for row in range(2):
        alone = certify_rows(base, images[row : row + 1], keys[row : row + 1], settings)
        assert np.array_equal(alone.n0_counts[0], together.n0_counts[row])
        assert (alone.n_a[0], alone.radius[0]) == (together.n_a[row], together.radius[row])
    assert base.record()["stack_sha256"]
    assert base.record() == opened(made, kind).record()


def test_a_stack_that_would_betray_the_label_never_gets_it() -> None:
    betrayer = Betrayer(-1.0)
    denoiser = StagedDenoiser(betrayer, STAGES, lambda stage: torch.zeros(3, 1))
    base = OfDenoised(Denoised(denoiser, 0.25), ByBrightness(0.5), identity={}, rows_per_call=8)
    # Half of the pictures are light: whoever gets all of them right knew their labels.
    images = np.zeros((8, 4, 4, 1), np.uint8)
    images[::2] = 255
    found = certify_rows(base, images, np.arange(8), CertifySettings(sigma=0.25, n0=4, n=20))
    assert found.predicted.tolist() == [0] * 8
    assert betrayer.conditions
    assert all(condition is None for condition in betrayer.conditions)


def test_what_does_not_fit_is_refused_in_one_line(made: Path, tmp_path: Path) -> None:
    def refused(kind: str, match: str, sigma: float = 0.25, **given: object) -> None:
        with pytest.raises(UserError, match=match) as caught:
            BASES[kind].open(options(made, **given), sigma, "cpu")  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)

    refused("denoised", "needs a classifier", classifier=None)
    refused("denoised", "needs a stack", stack=None)
    refused("denoised", "outside what the stack denoises", sigma=9.0 * 3)
    refused("stack", "leave classifier out")
    large = replace(load_dataset(made / "dataset"), shape=(16, 16, 1))
    refused("denoised", "is for pictures of 8x8x1", info=large)
    never = small_stack(**DIGITS)
    with torch.no_grad():
        never.network_of(0).condition.null.zero_()  # type: ignore[operator, union-attr]
    save_stack(never, {}, tmp_path / "never", {})
    refused("denoised", "never met its null condition", stack=tmp_path / "never")
    save_stack(small_stack(), {}, tmp_path / "other", {})
    refused("stack", "different classes", classifier=None, stack=tmp_path / "other")
