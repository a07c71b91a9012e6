"""`boundary` on digits: arrays, figures and plots that agree; bad input is one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from digit_models import digit_network, fitted_network
from digit_set import CLASSES, write_digits
from PIL import Image

from noisestack.__main__ import main
from pipeline.boundary.figures import figures_of
from pipeline.boundary.survey import Survey
from pipeline.classifier import Classifier, save_classifier
from pipeline.formats.boundary import read_arrays
from pipeline.formats.dataset import images_of, labels_of, load_dataset, read_rows
from pipeline.formats.output import read_json, write_json

QUICK = (
    "--points",
    "9",
    "--limit",
    "8",
    "--attack-steps",
    "20",
    "--draws",
    "9",
    "--slope-draws",
    "2",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("boundary")
    write_digits(path / "dataset", num_train=10)
    save_classifier(path / "natural", digit_network(), CLASSES, {})
    save_classifier(path / "weak", fitted_network(steps=8), CLASSES, {})
    return path


def boundary(place: Path, output: Path, *flags: str, classifiers: str = "natural") -> int:
    named = ",".join(f"{name}={place / name.partition('-')[0]}" for name in classifiers.split(","))
    paths = ("--dataset", str(place / "dataset"), "--output", str(output))
    return main(["boundary", *paths, "--classifiers", named, *QUICK, *flags])


def test_the_arrays_the_figures_and_the_plots_tell_one_story_and_a_resumed_run_the_same(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ("--sigmas", "natural-smoothed=1/4", "--through", "3,4")
    both = "natural,natural-smoothed"
    assert boundary(place, tmp_path / "b", *flags, classifiers=both) == 0
    said = capsys.readouterr().out
    manifest = read_json(tmp_path / "b" / "boundary.json")
    info = load_dataset(place / "dataset")
    classifier = Classifier.load(place / "natural")
    row, label = manifest["picture"]["row"], manifest["picture"]["label"]
    table = read_rows(info, "test", row, row + 1)
    assert labels_of(table).tolist() == [label] == classifier.predict(images_of(table)).tolist()

    maps = read_arrays(tmp_path / "b" / "maps-0.npz")
    assert {name.partition("_")[0] for name in maps} == {"same", "own", "through"}
    assert maps["same_classes"].shape == (9, 9)
    assert maps["same_classes"][4, 4] == label  # the picture itself is in the middle
    reach = manifest["picture"]["reach"]
    np.testing.assert_allclose(maps["same_across"], np.linspace(-reach, reach, 9))
    np.testing.assert_array_equal(maps["same_classes"], maps["own_classes"])
    heading = manifest["classifiers"][0]["heading"]
    assert heading["kind"] == "chosen"
    assert 0 < heading["distance"] < reach
    assert f"{heading['distance']:.3g} away, beyond it {CLASSES[heading['beyond']]}" in said

    for number in (0, 1):
        survey = Survey.of(read_arrays(tmp_path / "b" / f"survey-{number}.npz"))
        figures = manifest["classifiers"][number]["figures"]
        assert figures == figures_of(survey)
        right = survey.right
        assert figures["right"] == int(right.sum()) > 5
        assert (survey.along_adversarial[~right] == 0).all()
        assert (survey.along_adversarial[right] > 0).all()
        # Chosen noise is the shortest by far, of equal length random noise does nothing.
        assert figures["median_distance"]["along_adversarial"] < 0.5 * (
            figures["median_distance"]["along_random"] or np.inf
        )
        assert survey.linear_gradient.shape == (8, 12)
        assert np.isfinite(survey.linear_gradient).all()
    np.testing.assert_array_equal(survey.answer == survey.label, survey.noise.random_right[:, 0, 0])
    for name in ("maps", "noise", "measures"):
        with Image.open(tmp_path / "b" / f"{name}.png") as picture:
            assert picture.width > 500
    assert main(["verify", str(tmp_path / "b")]) == 0
    assert "ok: boundary" in capsys.readouterr().out

    # Killed after the first classifier: the same command does what is left, and the same bytes.
    whole = {path.name: path.read_bytes() for path in (tmp_path / "b").glob("*.npz")}
    (tmp_path / "b" / "boundary.json").unlink()
    (tmp_path / "b" / "survey-1.npz").unlink()
    monkeypatch.setattr("jobs.boundary.draw_pages", lambda *_: None)  # seconds, and seen above
    before = (tmp_path / "b" / "survey-0.npz").stat().st_mtime_ns
    assert boundary(place, tmp_path / "b", *flags, classifiers=both) == 0
    assert (tmp_path / "b" / "survey-0.npz").stat().st_mtime_ns == before
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").glob("*.npz")} == whole
    assert read_json(tmp_path / "b" / "boundary.json") == manifest
    capsys.readouterr()
    assert boundary(place, tmp_path / "b", *flags, classifiers=both) == 0
    assert "finished before" in capsys.readouterr().out

    # What was changed since is found.
    changed = {**maps, "same_classes": maps["same_classes"] * 0}
    np.savez_compressed(tmp_path / "b" / "maps-0.npz", **changed)
    figures = manifest["classifiers"][1]["figures"]
    figures["accuracy_chosen_noise"][0] += 0.25
    write_json(tmp_path / "b" / "boundary.json", manifest)
    assert main(["verify", str(tmp_path / "b")]) == 1
    said = capsys.readouterr().out
    assert "maps-0.npz" in said
    assert "accuracy_chosen_noise" in said


def test_bad_input_is_one_line_and_leaves_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*flags: str, classifiers: str = "natural") -> str:
        assert boundary(place, tmp_path / "no", *flags, classifiers=classifiers) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "no").exists()
        return line

    info = load_dataset(place / "dataset")
    table = read_rows(info, "test", 0, 360)
    predicted = Classifier.load(place / "weak").predict(images_of(table))
    labels = labels_of(table)
    wrong = int(np.flatnonzero(predicted != labels)[0])
    line = refused("--row", str(wrong), classifiers="weak")
    assert f"row {wrong} is a {labels[wrong]} and is answered wrongly from the start" in line
    assert f"weak says {predicted[wrong]}" in line
    assert "rows are 0 to 359" in refused("--row", "360")
    assert "through 999" in refused("--through", "1,999")
    assert "one line" in refused("--row", "1", "--through", "2,2")
    assert "'robust', which is none of the classifiers" in refused("--sigmas", "robust=0.25")
    assert "sigma" in refused("--sigmas", "natural=64")
    assert "give sigmas natural=0.25" in refused("--stacks", f"natural={place}")
    assert main(["boundary", "--dataset", str(place), "--output", str(tmp_path / "no")]) == 2
    assert "give NAME=CLASSIFIER" in capsys.readouterr().err

    small = fitted_network(steps=1)
    save_classifier(tmp_path / "letters", small, tuple("abcdefghij"), {})
    line = refused("--classifiers", f"letters={tmp_path / 'letters'}")
    assert "letters" in line
    assert "classes" in line
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.fill_(torch.nan)
    save_classifier(tmp_path / "broken", small, CLASSES, {})
    assert "finite" in refused("--classifiers", f"broken={tmp_path / 'broken'}")


def test_a_seed_that_is_no_int64_is_refused_before_any_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--dataset", str(place / "dataset"), "--classifiers", f"a={place / 'natural'}"]
    more = ["--output", str(tmp_path / "boundary"), "--seed", str(2**63)]
    assert main(["boundary", *named, *QUICK, *more]) == 2
    assert "--seed: " in capsys.readouterr().err
    assert not (tmp_path / "boundary").exists()
