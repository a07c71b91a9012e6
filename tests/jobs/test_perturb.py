"""The job `perturb`: on Ray, exactly once, resumable; mistakes are told before Ray starts."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from digit_models import digit_network
from digit_set import CLASSES, write_digits
from PIL import Image

from jobs.perturb import COMMAND, PICTURE_FILE, PerturbConfig, main
from noisestack.flags import read_config
from pipeline.attacks.rounding import whole_levels
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import load_dataset, write_dataset_info
from pipeline.formats.output import read_json
from pipeline.formats.perturbation_check import verify_perturbation_set
from pipeline.formats.perturbation_set import MANIFEST_FILE, open_perturbation_set
from pipeline.formats.shard import read_range
from pipeline.intervals import clopper_pearson
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perturb")
    write_digits(path / "digits", num_train=20, num_test=90, shard_rows=40)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return path


def config(inputs: Path, output: Path, **change: object) -> PerturbConfig:
    values: dict[str, object] = {
        "dataset": inputs / "digits",
        "classifier": inputs / "classifier",
        "output": output,
        "eps": 0.157,
        "steps": 5,
        "rows_per_shard": 32,
        "num_workers": 2,
        **change,
    }
    return PerturbConfig(**values)


def rows_of(path: Path) -> pa.Table:
    opened = open_perturbation_set(path)
    return read_range(path, opened.shards, 0, opened.stop - opened.start).combine_chunks()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_makes_a_verified_set_with_its_figures_and_picture(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(config(inputs, tmp_path / "set"))
    path = tmp_path / "set"
    report = verify_perturbation_set(
        path, Classifier.load(inputs / "classifier"), load_dataset(inputs / "digits")
    )
    assert report.faults == ()
    assert report.num_verified == 90
    manifest = read_json(path / MANIFEST_FILE)
    counts = manifest["counts"]
    assert counts["rows"] == counts["verified"] == 90
    assert manifest["clean_accuracy"] == report.clean_accuracy > 0.9
    assert manifest["robust_accuracy"] == report.robust_accuracy < 0.5
    robust_right = counts["clean_right"] - counts["successes"]
    assert manifest["robust_accuracy_interval_95"] == list(clopper_pearson(robust_right, 90))
    assert manifest["norms"]["linf_max_levels"] == manifest["attack"]["eps"] == 40
    assert [shard["num_rows"] for shard in manifest["shards"]] == [32, 32, 26]
    with Image.open(path / PICTURE_FILE) as picture:
        assert picture.width > 300
    assert not (path / "records").exists()
    said = capsys.readouterr().out
    assert "eps 40 levels of 1/255, down from 40.04" in said
    assert "90 of 90 rows verified after storage" in said
    # Another cut, another number of workers: the same rows. And a finished set is left alone.
    main(config(inputs, tmp_path / "other", rows_per_shard=90, num_workers=1))
    assert rows_of(tmp_path / "other").equals(rows_of(path))
    before = (path / MANIFEST_FILE).stat().st_mtime_ns
    main(config(inputs, path, num_workers=1))
    assert (path / MANIFEST_FILE).stat().st_mtime_ns == before
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0.003}, "less than one level"),
        ({"attack": "fgsm", "norm": "l2", "steps": 1}, "fgsm takes one step"),
        ({"attack": "ascent"}, "ascent needs a step_size"),
        ({"split": "validation"}, "has no split 'validation', only train, test"),
        ({"classifier": Path("/nonexistent/model")}, "there is no model directory"),
        ({"dataset": Path("/nonexistent/data")}, "/nonexistent/data"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    inputs: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(config(inputs, tmp_path / "set", **change))
    assert not (tmp_path / "set").exists()


def test_a_classifier_for_other_pictures_or_classes_is_refused(
    inputs: Path, tmp_path: Path
) -> None:
    wide = ClassifierNetwork(ClassifierShape(8, 9, 1, 10, (8,)))
    save_classifier(tmp_path / "wide", wide, CLASSES, {})
    with pytest.raises(UserError, match="8x9x1"):
        main(config(inputs, tmp_path / "set", classifier=tmp_path / "wide"))
    letters = tuple("abcdefghij")
    save_classifier(tmp_path / "letters", digit_network(), letters, {})
    with pytest.raises(UserError, match="different classes: label 0 is a in the one and 0"):
        main(config(inputs, tmp_path / "set", classifier=tmp_path / "letters"))


def test_an_empty_split_is_a_user_error(inputs: Path, tmp_path: Path) -> None:
    write_dataset_info(
        tmp_path / "empty",
        shape=(8, 8, 1),
        classes=CLASSES,
        splits={"test": []},
        has_captions=False,
        origin={},
    )
    with pytest.raises(UserError, match=r"the split test of .* is empty"):
        main(config(inputs, tmp_path / "set", dataset=tmp_path / "empty"))


def test_an_output_with_another_attacks_results_is_refused(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "set"
    shutil.copytree(inputs / "classifier", output)
    with pytest.raises(UserError, match="no run of this command made"):
        main(config(inputs, output))


def test_the_command_line_answers_a_mistake_with_one_line_and_code_2(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--dataset", str(inputs / "digits"), "--classifier", str(inputs / "classifier"),
        "--output", str(tmp_path / "set"), "--eps", "0.001",
    ]  # fmt: skip
    assert COMMAND.run(arguments, prog="perturb") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: eps is 0.001, less than one level")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("name", "levels"), [("digits", 40), ("fashion_mnist", 8)])
def test_the_shipped_configs_are_read(name: str, levels: int) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / f"perturb_{name}.yaml"
    shipped = read_config(PerturbConfig, ["--config", str(file)], "perturb")
    assert whole_levels(shipped.eps) == levels
    assert (shipped.attack, shipped.norm) == ("pgd", "linf")
