"""Shards of a perturbation set: the same rows however they are cut, verified as they are stored."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits
from perturbation_faults import make_shards, settings, write_inputs
from torch import Tensor

from pipeline.attacks.base import Norm
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.engine.eot import Expectation
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods import autoattack
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.methods.square import Square
from pipeline.attacks.settings import AttackSettings
from pipeline.attacks.trust.audit import Audit
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import (
    dataset_table,
    load_dataset,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.perturbation.distances import in_ball
from pipeline.formats.shard import images_of, labels_of, read_part
from pipeline.perturbation import perturber
from pipeline.perturbation.built_in import BuiltIn, perturb_rows
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.perturber import Perturber
from pipeline.perturbation.trust import measured_threshold
from pipeline.pictures import to_unit

ATTACKS = [
    settings(),
    settings(norm=Norm.L2, eps_levels=128),
    settings(attack="fgsm", steps=1),
    settings(attack="ascent", norm=Norm.L2, eps_levels=128, step_size=50.0),
    settings(norm=Norm.L1, eps_levels=1000),
    settings(attack="mi_fgsm"),
    settings(attack="apgd_ce", restarts=2),
    settings(attack="apgd_targeted", restarts=3),
    settings(attack="square", steps=60),
    settings(attack="deepfool", eps_levels=0, steps=20),
    settings(attack="fmn", norm=Norm.L1, eps_levels=0, steps=30),
    settings(attack="ddn", norm=Norm.L2, eps_levels=0, steps=30),
    settings(attack="carlini_wagner", norm=Norm.L2, eps_levels=0, steps=20),
    settings(attack="lbfgs", norm=Norm.L2, eps_levels=0),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perturber")
    write_inputs(path)
    return path


def joined(output: Path, records: list[dict[str, object]]) -> pa.Table:
    parts = [read_part(output / str(r["file"]), 0, int(str(r["num_rows"]))) for r in records]
    return pa.concat_tables(parts).combine_chunks()


AIMED = settings(target="random", eps_levels=80)
BY_CHANCE = settings(draws=3, steps=3)


@pytest.mark.parametrize(
    "attack",
    [*ATTACKS, AIMED, BY_CHANCE],
    ids=lambda a: f"{a.attack}-{a.norm}-{a.target}-{a.draws}",
)
def test_rows_are_the_same_bits_however_they_are_cut_into_shards(
    inputs: Path, tmp_path: Path, attack: AttackSettings
) -> None:
    whole = joined(tmp_path / "a", make_shards(inputs, tmp_path / "a", attack, 33, stop=33))
    parts = joined(tmp_path / "b", make_shards(inputs, tmp_path / "b", attack, 13, stop=33))
    assert whole.num_rows == 33
    assert parts.equals(whole)


@pytest.mark.parametrize(
    "attack", [settings(), settings(attack="autoattack", steps=1)], ids=lambda a: a.attack
)
def test_pictures_keep_their_bits_in_one_shard_or_four_in_any_order_and_size_of_call(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, attack: AttackSettings
) -> None:
    short = (
        ("apgd_ce", Apgd(Ball(Norm.LINF, 12), 8)),
        ("square", Square(Ball(Norm.LINF, 12), 20)),
    )
    monkeypatch.setattr(autoattack, "standard", lambda ball: Ensemble(short))
    classifier = Classifier.load(inputs / "classifier")
    images, labels, rows = *(values[-60:] for values in digits()), np.arange(60)

    def run(
        chosen: np.ndarray, rows_per_call: int = 64, logits: np.ndarray | None = None
    ) -> list[np.ndarray]:
        classifier.rows_per_call = rows_per_call
        stored, how, names = perturb_rows(
            classifier, attack, images[chosen], labels[chosen], rows[chosen], logits=logits
        )
        told = [how.margin, how.step, how.restart, how.forwards, how.backwards]
        return [stored, np.array(names), *(values.cpu().numpy() for values in told)]

    whole = run(rows)
    assert 0 < (whole[2] > 0).sum() < 60
    known = run(rows, logits=classifier.logits_of(images))
    assert all(np.array_equal(a, b) for a, b in zip(known, whole, strict=True))
    shuffled = np.random.default_rng(0).permutation(60)
    shards = [run(part) for part in np.split(shuffled, 4)]
    calls = [run(rows, rows_per_call) for rows_per_call in (7, 256)]
    for number, values in enumerate(whole):
        joined = np.concatenate([shard[number] for shard in shards])
        assert np.array_equal(joined, values[shuffled]), number
        # On one thread of a CPU this network's rows do not even depend on the calls' size; the
        # margin's last bits may.
        for other in calls:
            assert (
                np.allclose(other[number], values, rtol=0, atol=1e-5)
                if number == 2
                else (np.array_equal(other[number], values))
            ), number


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.attack}-{a.norm}")
def test_stored_rows_are_in_the_ball_and_counted_rightly(
    inputs: Path, tmp_path: Path, attack: AttackSettings
) -> None:
    (record,) = make_shards(inputs, tmp_path, attack, 60)
    table = read_part(tmp_path / record["file"], 0, 60)
    clean, stored = images_of(table), images_of(table, "adversarial")
    assert np.array_equal(clean, digits()[0][-60:])
    assert in_ball(clean, stored, attack.norm, attack.eps_levels).all()
    classifier = Classifier.load(inputs / "classifier")
    labels = labels_of(table)
    right = classifier.predict(clean) == labels
    wrong = classifier.predict(stored) != labels
    assert record["verified"] == record["num_rows"] == 60
    assert record["clean_right"] == right.sum()
    # A rounding error of the CPU's decides whether a row that is just wrong leads by the threshold.
    within = record["within_threshold"]
    assert record["successes"] + within == (right & wrong).sum() > 10
    assert record["successes"] == sum(table.column("success").to_pylist())
    same = (clean == stored).all(axis=(1, 2, 3))
    assert record["unmoved"] == (right & same).sum() < 5
    assert np.array_equal(stored[~right], clean[~right])
    for name in ("forwards", "backwards"):
        assert record[name] == sum(table.column(name).to_pylist())
    assert record["linf_max"] == max(table.column("linf").to_pylist())
    assert record["l2_max"] == pytest.approx(max(table.column("l2").to_pylist()))
    assert record["l2_sum"] == pytest.approx(sum(table.column("l2").to_pylist()))


def test_the_seed_changes_pgd_and_the_same_seed_does_not(inputs: Path, tmp_path: Path) -> None:
    names = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (record,) = make_shards(inputs, tmp_path / name, settings(seed=seed), 60)
        names.append(record["sha256"])
    assert names[0] == names[1] != names[2]


def test_a_row_that_is_not_what_it_claims_stops_the_shard(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(table: pa.Table, directory: Path, file: str) -> object:
        won = [not value for value in table.column("success").to_pylist()]
        number = table.column_names.index("success")
        return write_shard(table.set_column(number, "success", pa.array(won)), directory, file)

    monkeypatch.setattr(perturber, "write_shard", spoiled)
    with pytest.raises(RuntimeError, match="60 rows are not what they claim"):
        make_shards(inputs, tmp_path, settings(), 60)


def test_labels_outside_the_classes_are_a_user_error_that_names_the_row(
    inputs: Path, tmp_path: Path
) -> None:
    images, labels = digits()
    labels = labels[:10].copy()
    labels[4] = 10
    table = dataset_table([str(i) for i in range(10)], images[:10], labels, None)
    shard = write_shard(table, tmp_path / "data", "test/part-00000.parquet")
    write_dataset_info(
        tmp_path / "data",
        shape=(8, 8, 1),
        classes=tuple("0123456789"),
        splits={"test": [shard]},
        has_captions=False,
        origin={},
    )
    worker = Perturber(
        dataset=tmp_path / "data",
        classifier=inputs / "classifier",
        split="test",
        output=tmp_path / "set",
        attack=BuiltIn(settings()),
    )
    with pytest.raises(UserError, match=r"^bad row 4: row 4 of .* has label 10; .*quarantine$"):
        worker({"file": "part-00000.parquet", "start": 0, "stop": 10})


def test_a_picture_without_a_gradient_stays_as_it_is(inputs: Path) -> None:
    classifier = Classifier.load(inputs / "classifier")
    images, labels = digits()

    class Flat(Classifier):
        def __call__(self, x):  # type: ignore[no-untyped-def]
            return 0 * x.sum(dim=(1, 2, 3))[:, None] + classifier(x).detach()

    flat = Flat(classifier._network, classifier.classes)
    stored, attacked, names = perturb_rows(
        flat, settings(attack="fgsm", steps=1), images[:5], labels[:5], np.arange(5)
    )
    assert attacked.clean_right.any()
    assert names == ["fgsm"] * 5
    assert np.array_equal(stored, images[:5])


def test_autoattack_says_which_of_its_attacks_found_each_picture(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = (
        ("fgsm", fgsm(Ball(Norm.LINF, 40))),
        ("apgd_ce", Apgd(Ball(Norm.LINF, 40), 20)),
    )
    monkeypatch.setattr(autoattack, "standard", lambda ball: Ensemble(attacks))
    chosen = settings(attack="autoattack", steps=1)
    (record,) = make_shards(inputs, tmp_path / "both", chosen, 60)
    table = read_part(tmp_path / "both" / record["file"], 0, 60)
    (first,) = make_shards(inputs, tmp_path / "first", settings(attack="fgsm", steps=1), 60)
    alone = read_part(tmp_path / "first" / first["file"], 0, 60)
    broken = np.array(alone.column("success").to_pylist())
    found = np.array(table.column("found_attack").to_pylist())
    assert (found[broken] == "fgsm").all()
    won = np.array(table.column("success").to_pylist())
    assert (found[won & ~broken] == "apgd_ce").all()
    assert (won & ~broken).any()
    assert won[broken].all()


@pytest.mark.parametrize("widened", [False, True])
def test_an_audited_set_is_the_same_bits_in_any_shards_and_counts_what_was_overturned(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widened: bool
) -> None:
    ball = Ball(Norm.LINF, 20)
    audit = Audit((("audit_pgd", Pgd(ball, 3)),), 0.5, alarm=("audit_apgd_ce", Apgd(ball, 20)))
    ensemble = Ensemble((("fgsm", fgsm(ball)),), audit=audit)
    monkeypatch.setattr(autoattack, "fast", lambda ball: ensemble)
    chosen = settings(attack="autoattack", steps=1, ensemble="fast", eps_levels=20)
    records = make_shards(inputs, tmp_path / "a", chosen, 60, widened=widened)
    parts = make_shards(inputs, tmp_path / "b", chosen, 13, widened=widened)
    table = joined(tmp_path / "a", records)
    assert joined(tmp_path / "b", parts).equals(table)
    assert sum(part["audited"] for part in parts) == records[0]["audited"]
    found = np.array(table.column("found_attack").to_pylist())
    won = np.array(table.column("success").to_pylist())
    for name, attack in (("overturned", "audit_pgd"), ("alarming", "audit_apgd_ce")):
        count = int((won & (found == attack)).sum())
        assert sum(part[name] for part in parts) == records[0][name] == count > 0
    # The alarm was given to every row that stands, or to the sample.
    right = table.column("clean_prediction").to_numpy() == table.column("label").to_numpy()
    asked = table.column("forwards").to_numpy()[~won & right]
    assert (asked > 20).all() == widened


def test_a_targeted_row_is_a_success_where_it_is_answered_as_its_target(
    inputs: Path, tmp_path: Path
) -> None:
    attack = replace(AIMED, eps_levels=40)  # with 80 nearly all rows are taken to their target
    (record,) = make_shards(inputs, tmp_path, attack, 60)
    table = read_part(tmp_path / record["file"], 0, 60)
    columns = {name: table.column(name).to_numpy() for name in ("label", "target", "success")}
    assert (columns["target"] != columns["label"]).all()
    assert len(set(columns["target"].tolist())) > 5
    classifier = Classifier.load(inputs / "classifier")
    right = classifier.predict(images_of(table)) == columns["label"]
    answered = classifier.predict(images_of(table, "adversarial"))
    hit = right & (answered == columns["target"]) & (table.column("margin").to_numpy() > 0.001)
    assert np.array_equal(columns["success"], hit)
    # Some are answered as a third class, which is none.
    assert hit.sum() > 5
    assert (right & (answered != columns["label"]) & ~hit).any()


def test_a_classifier_that_answers_by_chance_is_judged_by_draws_that_no_attack_met(
    inputs: Path,
) -> None:
    classifier, images = Classifier.load(inputs / "classifier"), digits()[0][:4]

    class Noisy(Classifier):
        def __call__(self, x: Tensor) -> Tensor:
            return classifier(x) + torch.randn(len(x), 10)

    noisy = Noisy(classifier._network, classifier.classes)
    judge = judge_of(noisy, {"draws": 200, "seed": 3})
    said, again = judge.logits_of(images), judge.logits_of(images[::-1])
    assert np.array_equal(said, again[::-1])
    # Within 5 standard errors of what is said without chance.
    assert np.abs(said - classifier.logits_of(images)).max() < 5 / 200**0.5
    met = Expectation(noisy, 200, 3)(to_unit(images)).numpy()
    assert np.abs(said - met).max() > 0.01
    assert judge_of(noisy, {"draws": 1, "seed": 3}) is noisy


@pytest.fixture(scope="module")
def scaled(inputs: Path) -> dict[float, str]:
    """The classifier with its logits times a factor, by name. The powers of two, near 1e-5 and
    1e5, change no digit of a float."""
    names = {}
    for factor in (2.0**-17, 2.0**17, 1e-5, 1e5):
        network = copy.deepcopy(digit_network())
        with torch.no_grad():
            network.head.weight *= factor
            network.head.bias *= factor
        names[factor] = f"times-{factor:g}"
        save_classifier(inputs / names[factor], network, CLASSES, {})
    return names


def with_threshold(
    inputs: Path, output: Path, attack: AttackSettings, name: str, stop: int = 12
) -> tuple[pa.Table, float]:
    """Rows of a set against a classifier, and the threshold that was measured of it."""
    judge = Classifier.load(inputs / name)
    measured = measured_threshold(judge, load_dataset(inputs / "digits"), "test", 32)
    threshold = float(measured["threshold"])
    records = make_shards(inputs, output, attack, 60, stop, classifier=name, threshold=threshold)
    return joined(output, records), threshold


SCALED = [*ATTACKS, AIMED, settings(attack="fab_targeted", steps=15, restarts=3)]


@pytest.mark.parametrize("attack", SCALED, ids=lambda a: f"{a.attack}-{a.norm}-{a.target}")
def test_logits_of_any_size_give_the_same_pictures_and_verdicts(
    inputs: Path, scaled: dict[float, str], tmp_path: Path, attack: AttackSettings
) -> None:
    plain, threshold = with_threshold(inputs, tmp_path / "plain", attack, "classifier")
    for factor in (2.0**-17, 2.0**17):
        other, its = with_threshold(inputs, tmp_path / scaled[factor], attack, scaled[factor])
        assert its == factor * threshold
        margins = [table["margin"].to_numpy() for table in (plain, other)]
        assert np.array_equal(margins[1], factor * margins[0])
        assert other.drop_columns(["margin"]).equals(plain.drop_columns(["margin"]))


@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_logits_that_rounding_scales_otherwise_give_the_same_verdicts(
    inputs: Path, scaled: dict[float, str], tmp_path: Path, factor: float
) -> None:
    plain, threshold = with_threshold(inputs, tmp_path / "plain", settings(), "classifier", 60)
    other, its = with_threshold(inputs, tmp_path / "other", settings(), scaled[factor], 60)
    assert its == pytest.approx(factor * threshold, rel=1e-6)
    assert other["success"].equals(plain["success"])
    wrong = other["adversarial_prediction"].to_numpy() != other["label"].to_numpy()
    right = other["clean_prediction"].to_numpy() == other["label"].to_numpy()
    assert np.array_equal(other["success"].to_numpy(), wrong & right)  # none within the threshold


def test_a_constant_on_all_logits_changes_hardly_a_verdict(inputs: Path, tmp_path: Path) -> None:
    """Of 60 spreads: the digits that float32 then lacks are few, and lie within the threshold."""
    network = copy.deepcopy(digit_network())
    with torch.no_grad():
        network.head.bias += 200.0
    save_classifier(inputs / "raised", network, CLASSES, {})
    plain, threshold = with_threshold(inputs, tmp_path / "plain", settings(), "classifier", 60)
    other, its = with_threshold(inputs, tmp_path / "other", settings(), "raised", 60)
    assert 1 <= its / threshold < 4
    won, its_won = (table["success"].to_numpy() for table in (plain, other))
    assert (won != its_won).sum() <= 2
