"""Shards of certificate sets: the same rows however they are cut and called, and after a kill."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from certificate_faults import certify_config, make_certificates, write_certificates
from perturbation_faults import write_inputs
from scipy.stats import norm
from torch import Tensor, nn

from jobs.certify.manifest import manifest_of
from jobs.certify.task import Task
from jobs.common.records import gather
from jobs.common.row_ranges import RowRanges
from jobs.common.shard_runner import ALREADY_DONE, DONE, NUMBER, ShardRunner
from pipeline.certification.certifier import Certifier
from pipeline.certification.doubts import look_at_base
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.certificate.set import open_certificate_set, write_certificate_manifest
from pipeline.formats.certificate.warnings import row_warnings
from pipeline.formats.dataset import (
    dataset_table,
    images_of,
    labels_of,
    read_rows,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.shard import iterate
from pipeline.smoothing.base import OfClassifier
from pipeline.smoothing.settings import CertifySettings


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certify")
    write_inputs(path)
    return path


def table_of(path: Path) -> pa.Table:
    opened = open_certificate_set(path)
    return pa.concat_tables(list(iterate(path, opened.shards))).combine_chunks()


@pytest.mark.parametrize("question", [{}, {"radii": (0.1, 0.2)}, {"tolerance": 0.15, "n": 300}])
def test_rows_are_the_same_in_one_shard_and_in_four_and_in_calls_of_7_and_of_256(
    inputs: Path, tmp_path: Path, question: dict[str, Any]
) -> None:
    ours = {"classifier": "digit_models:digit_network", "limit": 16, **question}
    write_certificates(inputs, tmp_path / "one", rows_per_call=256, rows_per_shard=16, **ours)
    write_certificates(inputs, tmp_path / "four", rows_per_call=7, rows_per_shard=4, **ours)
    one, four = table_of(tmp_path / "one"), table_of(tmp_path / "four")
    assert len(open_certificate_set(tmp_path / "four").shards) == 4
    assert one.equals(four)
    assert one["draws"].to_pylist() == [20 + n for n in one["n"].to_pylist()]
    if question:
        assert len(set(one["n"].to_pylist())) > 3


def test_a_killed_run_goes_on_with_the_same_bytes(inputs: Path, tmp_path: Path) -> None:
    write_certificates(inputs, tmp_path / "whole", radii=(0.2,))
    task = Task.read(certify_config(inputs, tmp_path / "set", radii=(0.2,)))
    shards = RowRanges(task.stop, task.config.shard_rows)

    def runner() -> ShardRunner:
        arguments = task.pool(tmp_path / "set").worker_args
        return ShardRunner(Certifier, arguments, shards, tmp_path / "set")

    assert runner()({NUMBER: 1})["outcome"] == DONE
    (tmp_path / "set" / "part-00002.parquet").write_bytes(b"half")  # written, and then no record
    again = runner()
    assert [again({NUMBER: n})["outcome"] for n in range(3)] == [DONE, ALREADY_DONE, DONE]
    records = gather(tmp_path / "set", shards)
    write_certificate_manifest(tmp_path / "set", manifest_of(task, records, task.look()))
    opened, whole = (open_certificate_set(tmp_path / name) for name in ("set", "whole"))
    assert opened.shards == whole.shards
    assert opened.manifest["content_sha256"] == whole.manifest["content_sha256"]


def test_all_that_the_bytes_depend_on_is_in_the_fingerprint_and_nothing_else(
    inputs: Path, tmp_path: Path
) -> None:
    def fingerprint(**change: Any) -> dict[str, Any]:
        return Task.read(certify_config(inputs, tmp_path / "set", **change)).fingerprint

    first = fingerprint()
    for change in (
        {"sigma": 0.3}, {"n0": 30}, {"n": 150}, {"alpha": 0.01}, {"noise": "lattice"}, {"seed": 4},
        {"radii": (0.1,)}, {"tolerance": 0.1}, {"limit": 59}, {"rows_per_shard": 24},
        {"split": "train"}, {"classifier": "digit_models:digit_network"},
    ):  # fmt: skip
        assert fingerprint(**change) != first, change
    assert fingerprint(num_workers=3, cpus_per_worker=0.5, on_bad_row="quarantine") == first


class Linear(nn.Module):
    """Class 1 where the first value exceeds a half: the exact radius is ``|x - 1/2|``."""

    def forward(self, x: Tensor) -> Tensor:
        lead = (x[:, 0, 0, 0] - 0.5) * 10
        return torch.stack([-lead, lead], dim=1)


def linear() -> nn.Module:
    """As ``--classifier module:function`` takes it."""
    return Linear()


def write_two_classes(path: Path, labels: list[int] | None = None) -> Path:
    levels = np.array([10, 60, 110, 127, 128, 160, 200, 250], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (8, 2, 2, 1)).copy()
    right = (levels > 127).astype(np.int64).tolist() if labels is None else labels
    ids = [f"level-{level}" for level in levels]
    shard = write_shard(dataset_table(ids, images, right, None), path, "test/part-00000.parquet")
    write_dataset_info(
        path,
        shape=(2, 2, 1),
        classes=("dark", "light"),
        splits={"test": [shard]},
        has_captions=False,
        origin={},
    )
    return path


def of_linear(path: Path, output: Path, **change: Any) -> Task:
    write_two_classes(path / "levels", change.pop("labels", None))
    values = {"dataset": path / "levels", "classifier": f"{__name__}:linear", "n": 3000, **change}
    return Task.read(certify_config(path, output, **values))


@pytest.mark.parametrize("noise", ["gaussian", "lattice"])
def test_two_classes_and_a_linear_border_give_radii_just_below_the_exact_ones(
    tmp_path: Path, noise: str
) -> None:
    task = of_linear(tmp_path, tmp_path / "set", noise=noise)
    make_certificates(task, tmp_path / "set")
    write_certificate_manifest(
        tmp_path / "set", manifest_of(task, make_certificates(task, tmp_path / "set"))
    )
    table = table_of(tmp_path / "set")
    levels = np.array([int(name.split("-")[1]) for name in table["id"].to_pylist()])
    exact = np.abs(levels / 255 - 0.5)
    radius, abstained = table["radius"].to_numpy(), table["abstained"].to_numpy()
    assert (radius <= exact).all()
    assert not abstained[[0, 1, 2, 5, 6, 7]].any()  # the others lie at the border
    ceiling = task.certificate["ceiling"]
    # Three standard deviations of 3,000 votes below the bound's own three.
    least = 0.25 * norm.ppf(norm.cdf(exact / 0.25) - 6 * math.sqrt(0.25 / 3000))
    assert (radius[~abstained] >= np.minimum(least, ceiling - 0.01)[~abstained]).all()
    assert (table["predicted"].to_numpy() == (levels > 127))[~abstained].all()


def test_rows_without_a_label_are_set_aside_or_end_the_work(tmp_path: Path) -> None:
    labels = [0, 0, -1, 0, 1, 1, 7, 1]
    task = of_linear(tmp_path, tmp_path / "set", labels=labels, n=100)
    with pytest.raises(UserError, match=r"level-110.*has label -1"):
        make_certificates(task, tmp_path / "set")
    task = of_linear(tmp_path, tmp_path / "set", labels=labels, n=100, on_bad_row="quarantine")
    manifest = manifest_of(task, make_certificates(task, tmp_path / "set"))
    assert (manifest["counts"]["rows"], manifest["counts"]["quarantined"]) == (6, 2)
    assert sum(entry["num_rows"] for entry in manifest["quarantine"]) == 2
    none = of_linear(tmp_path, tmp_path / "set", labels=[-1] * 8, n=100, on_bad_row="quarantine")
    with pytest.raises(UserError, match="none of the 8 rows"):
        manifest_of(none, make_certificates(none, tmp_path / "none"))


def look(network: nn.Module, **frozen: Any) -> list[str]:
    classifier = FrozenClassifier(network, ("dark", "light"), (2, 2, 1), rows_per_call=64, **frozen)
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 1), np.uint8)
    settings = CertifySettings(0.25, n0=10, n=100)
    warnings = look_at_base(OfClassifier(classifier), images, settings)
    return [warning.code for warning in warnings]


class Dropping(Linear):
    """Random whatever mode it is in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.3, training=True))


class Mixing(Linear):
    """Takes the call's mean off, as a batch norm in training mode does."""

    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(len(x), dtype=x.dtype)[:, None, None, None]
        return super().forward(x - (x * order).sum(0) / order.sum())


class Broken(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.flatten(1)[:, :2] - 0.5)  # no number where noise takes it below


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Dropping, "it is randomised, and certificates speak of a function"),
        (Mixing, "mixes the rows of a call"),
        (Broken, "NaN"),
    ],
)
def test_answers_that_are_no_function_of_the_picture_are_refused(
    network: type[nn.Module], told: str
) -> None:
    assert look(Linear()) == []
    with pytest.raises(UserError, match=told) as refused:
        look(network())
    assert "\n" not in str(refused.value)


def test_a_classifier_that_came_in_training_mode_is_told() -> None:
    assert look(Linear(), training_layers=("norm",)) == ["training_mode"]


def test_doubtful_counts_are_warned_of() -> None:
    counts = {"rows": 100, "right": 60, "abstained": 10, "at_ceiling": 20}
    certificate = {"sigma": 0.5, "rule": "fixed", "n": 100, "ceiling": 0.7}

    def codes(rule: str = "fixed", **change: int) -> list[str]:
        told = row_warnings({**counts, **change}, {**certificate, "rule": rule}, 10)
        return [warning.code for warning in told]

    assert codes() == []
    assert codes(abstained=51, right=11) == ["abstained"]
    assert codes(right=10) == ["chance"]
    assert codes(at_ceiling=51) == ["ceiling"]
    assert codes("radii", at_ceiling=51) == []


def test_the_label_never_reaches_the_votes(inputs: Path, tmp_path: Path) -> None:
    """Other labels give the same certificates."""
    task = of_linear(tmp_path, tmp_path / "one", n=100)
    other = of_linear(tmp_path, tmp_path / "other", n=100, labels=[1, 1, 1, 1, 0, 0, 0, 0])
    made = []
    for one in (task, other):
        output = one.config.output
        write_certificate_manifest(output, manifest_of(one, make_certificates(one, output)))
        made.append(table_of(output).drop_columns(["label"]))
    assert made[0].equals(made[1])
    assert labels_of(table_of(tmp_path / "other")).tolist() == [1] * 4 + [0] * 4
    assert len(images_of(read_rows(task.info, "test", 0, 8))) == 8
