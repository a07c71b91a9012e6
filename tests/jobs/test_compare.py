"""`compare`: sets side by side, who broke what, a picture; what cannot be compared is refused."""

import shutil
from pathlib import Path

import pytest
from certificate_faults import write_certificates
from digit_models import fitted_network
from digit_set import CLASSES
from perturbation_faults import make_shards, settings, write_inputs, write_set
from PIL import Image
from planted_sets import change_cell, replant

from noisestack.__main__ import main
from pipeline.attacks.base import Norm
from pipeline.classifier import save_classifier
from pipeline.formats.certificate.comparison import inside_radius
from pipeline.formats.certificate.set import open_certificate_set
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation.comparison import broken_rows, differences
from pipeline.formats.perturbation.set import open_perturbation_set
from pipeline.formats.shard import iterate
from pipeline.plots.accuracy import figures_of
from pipeline.plots.comparison import comparison_figure


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare")
    write_inputs(path)
    for name, attack in {
        "one": settings(attack="fgsm", steps=1, eps_levels=24),
        "many": settings(eps_levels=24),
        "wide": settings(),
        "idle": settings(attack="ascent", steps=1, step_size=1e-6, eps_levels=24),
        "square": settings(attack="square", steps=30, eps_levels=24),
        "free": settings(attack="deepfool", eps_levels=0, steps=10),
        "l2": settings(norm=Norm.L2, eps_levels=128),
    }.items():
        write_set(path, path / name, attack)
        manifest = read_json(path / name / "manifest.json")
        counts = manifest["counts"]
        left = (counts["clean_right"] - counts["successes"]) / 60
        accuracies = {"clean_accuracy": counts["clean_right"] / 60, "robust_accuracy": left}
        accuracies["robust_accuracy_interval_95"] = [left, left]
        write_json(path / name / "manifest.json", {**manifest, **accuracies})
    return path


def compare(path: Path, output: Path, *names: str) -> int:
    chosen = ",".join(str(path / name) for name in names)
    return main(["compare", "--sets", chosen, "--output", str(output)])


def test_pairs_with_one_task_are_told_apart_row_by_row(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = [open_perturbation_set(sets / name) for name in ("one", "many", "wide")]
    broken = [broken_rows(one) for one in opened]
    for one, rows in zip(opened, broken, strict=True):
        assert rows.sum() == one.manifest["counts"]["successes"] > 0
    (pair,) = differences(opened)  # the third has another ball
    assert (pair.first, pair.second) == (0, 1)
    assert pair.second_alone - pair.first_alone == int(broken[1].sum() - broken[0].sum())
    assert compare(sets, tmp_path / "c", "one", "many", "wide", "free") == 0
    said = capsys.readouterr().out.splitlines()
    assert f"broke {pair.first_alone} pictures that pgd in many left standing" in said[4]
    assert len(said) == 6
    with Image.open(tmp_path / "c" / "accuracy.png") as picture:
        assert picture.width > 700
    told = read_json(tmp_path / "c" / "comparison.json")
    assert [one["eps"] for one in told["sets"]] == [24, 24, 40, 0]
    assert told["rows"] == [0, 60]
    (alone,) = told["pairs"]
    assert alone["names"] == ["fgsm in one", "pgd in many"]
    assert alone["broken_by_one_alone"] == [pair.first_alone, pair.second_alone]
    # The same again says the same; other sets need --overwrite.
    assert compare(sets, tmp_path / "c", "one", "many", "wide", "free") == 0
    assert capsys.readouterr().out.splitlines() == said
    assert compare(sets, tmp_path / "c", "one", "many") == 2
    assert "another config" in capsys.readouterr().err


def test_square_breaking_what_gradients_left_is_warned_of(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(sets, tmp_path / "c", "square", "idle") == 0
    told = capsys.readouterr().out.splitlines()[2]
    alone = differences([open_perturbation_set(sets / n) for n in ("square", "idle")])[
        0
    ].first_alone
    assert alone > 0
    assert "warning: square uses no gradient of the model" in told
    assert compare(sets, tmp_path / "d", "one", "many") == 0
    assert "warning" not in capsys.readouterr().out


def test_the_legend_names_each_set_with_its_accuracy(sets: Path) -> None:
    named = [
        (name, figures_of(sets / name, open_perturbation_set(sets / name).manifest))
        for name in ("many", "wide", "free")
    ]
    (axes,) = comparison_figure(named).get_axes()
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    for name, figures in named[:2]:
        left = figures.accuracy_within()[1][-1]
        line = f"{name}: {left:.1%} at ε = {figures.eps} (95 % interval)"
        assert line in told
    assert "free: smallest found" in told


@pytest.mark.parametrize(
    ("names", "output", "message"),
    [
        (("many", "l2"), "c", "differ in norm, l2 and linf"),
        (("many", "short"), "c", "differ in rows, 0 to 19 and 0 to 59"),
        (("many", "elsewhere"), "c", "differ in split, train and test"),
        (("many", "absent"), "c", "no finished perturbation set"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line_with_exit_code_2(
    sets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    output: str,
    message: str,
) -> None:
    if "short" in names and not (sets / "short").exists():
        (sets / "short").mkdir()
        manifest = read_json(sets / "many" / "manifest.json")
        records = make_shards(sets, sets / "short", settings(), 20, stop=20)
        dataset = {**manifest["dataset"], "stop": 20}
        write_json(
            sets / "short" / "manifest.json", {**manifest, "dataset": dataset, "shards": records}
        )
    if "elsewhere" in names:
        shutil.copytree(sets / "many", sets / "elsewhere")
        manifest = read_json(sets / "elsewhere" / "manifest.json")
        manifest["dataset"]["split"] = "train"
        write_json(sets / "elsewhere" / "manifest.json", manifest)
    assert compare(sets, tmp_path / output, *names) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_sets_of_two_models_are_drawn_and_not_told_apart(sets: Path, tmp_path: Path) -> None:
    other = tmp_path / "inputs"
    write_inputs(other)
    save_classifier(other / "classifier", fitted_network(steps=5), CLASSES, {})
    write_set(other, tmp_path / "other", settings(eps_levels=24))
    opened = [open_perturbation_set(path) for path in (sets / "many", tmp_path / "other")]
    assert differences(opened) == []


def test_sets_with_and_without_a_target_are_not_told_apart(sets: Path, tmp_path: Path) -> None:
    """A picture answered as another class than the target is broken in one of them alone."""
    shutil.copytree(sets / "many", tmp_path / "aimed")
    manifest = read_json(tmp_path / "aimed" / "manifest.json")
    manifest["attack"]["target"] = "next"
    write_json(tmp_path / "aimed" / "manifest.json", manifest)
    opened = [open_perturbation_set(path) for path in (sets / "many", tmp_path / "aimed")]
    assert differences(opened) == []


@pytest.fixture(scope="module")
def certified(sets: Path) -> Path:
    """Certificates of the same digits and classifier; and of another one, beside them."""
    write_certificates(sets, sets / "certified", n=300)
    save_classifier(sets / "other", fitted_network(steps=5), CLASSES, {})
    write_certificates(sets, sets / "certified_other", classifier=str(sets / "other"))
    return sets


def models(path: Path) -> list[str]:
    return ["--dataset", str(path / "digits"), "--classifier", str(path / "classifier")]


def on_one_page(path: Path, output: Path, names: tuple[str, ...], *more: str) -> int:
    chosen = ",".join(str(path / name) for name in names)
    return main(["compare", "--sets", chosen, "--output", str(output), *more])


def test_pictures_within_a_certified_radius_are_found_row_by_row(certified: Path) -> None:
    certificates = open_certificate_set(certified / "certified")
    attacked = open_perturbation_set(certified / "l2")
    inside = inside_radius(certificates, attacked)
    rows = {
        row["row"]: row
        for table in iterate(certificates.path, certificates.shards)
        for row in table.to_pylist()
    }
    due = [
        (row["row"], rows[row["row"]]["predicted"])
        for table in iterate(attacked.path, attacked.shards, ["row", "l2"])
        for row in table.to_pylist()
        if row["l2"] < rows[row["row"]]["radius"]
    ]
    assert list(zip(inside.rows.tolist(), inside.predicted.tolist(), strict=True)) == due
    assert 0 < len(due) < 60


def test_certified_and_attacked_stand_on_one_page_and_bound_the_smoothed_classifier(
    certified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("certified", "l2")
    assert on_one_page(certified, tmp_path / "c", names) == 0
    told = capsys.readouterr().out
    assert "classifier, σ = 0.25: certified accuracy " in told
    assert "lie within their row's certified radius" in told
    assert on_one_page(certified, tmp_path / "d", names, "--votes", "200", *models(certified)) == 0
    told = capsys.readouterr().out
    assert "warning" not in told
    assert "lies between" in told
    report = read_json(tmp_path / "d" / "comparison.json")
    (pair,) = report["within_certified_radius"]
    assert pair["contradicted_rows"] == []
    (curve,) = [one["curve"] for one in report["certificates"]]
    # The attack's ball has a radius of 128 levels, 0.502.
    at_half = next((p["right"] for p in curve if p["radius"] == 0.5), 0)
    assert at_half <= pair["smoothed_right_on_attacked"] <= 60


def test_a_certificate_that_the_smoothed_classifier_contradicts_is_named(
    certified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that claims another class at the radius that it has."""
    path = tmp_path / "wrong"
    shutil.copytree(certified / "certified", path)
    inside = inside_radius(open_certificate_set(path), open_perturbation_set(certified / "l2"))
    row = int(inside.rows[0])
    file = f"part-{row // 25:05d}.parquet"
    predicted = (int(inside.predicted[0]) + 1) % 10
    replant(path, file, change_cell("predicted", row % 25, predicted))
    chosen = f"{path},{certified / 'l2'}"
    flags = ["--output", str(tmp_path / "c"), "--votes", "200", *models(certified)]
    assert main(["compare", "--sets", chosen, *flags]) == 0
    told = capsys.readouterr().out
    assert "warning: 1 certificates of classifier, σ = 0.25 are contradicted" in told
    assert f"of rows {row} the smoothed" in told
    (pair,) = read_json(tmp_path / "c" / "comparison.json")["within_certified_radius"]
    assert pair["contradicted_rows"] == [row]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("certified", "many"), "is in linf, and certificates are in l2"),
        (("certified_other", "l2"), "is of another classifier than"),
        (("certified", "certified_other", "l2"), "is of another classifier than"),
    ],
)
def test_certificates_that_say_nothing_of_an_attack_are_refused_beside_it(
    certified: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    message: str,
) -> None:
    assert on_one_page(certified, tmp_path / "c", names) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_certificates_of_two_classifiers_stand_side_by_side_without_an_attack(
    certified: Path, tmp_path: Path
) -> None:
    assert on_one_page(certified, tmp_path / "c", ("certified", "certified_other")) == 0
    report = read_json(tmp_path / "c" / "comparison.json")
    assert (len(report["certificates"]), report["sets"]) == (2, [])
