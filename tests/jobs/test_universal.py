"""Universal sets: one perturbation, made once; the same bytes however rows are cut and ordered."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from digit_models import digit_network
from digit_set import CLASSES, digits, write_digits
from in_this_process import perturb_here
from planted_sets import rehash, replant

from jobs.perturb import COMMAND, PerturbConfig, main
from noisestack.flags import read_config
from pipeline.attacks.base import Norm
from pipeline.attacks.methods.universal import UniversalAttack
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import dataset_table, load_dataset, write_dataset_info, write_shard
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.check import verify_perturbation_set
from pipeline.formats.perturbation.set import CLASSIFIER_FILE, open_perturbation_set
from pipeline.formats.perturbation.universal import DELTA_FILE, NOT_DELTA, with_delta
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import image_column, images_of, labels_of, read_range
from pipeline.perturbation.perturber import Perturber
from pipeline.perturbation.preparer import Preparer
from pipeline.perturbation.universal import Universal
from pipeline.plots.universal import UNIVERSAL_PICTURE_FILE
from pipeline.user_models.onnx_export import export_classifier
from pipeline.verification.directory import verify_directory


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("universal")
    write_digits(path / "digits", num_train=200, num_test=60, shard_rows=70)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return path


@pytest.fixture(scope="module")
def straight(inputs: Path) -> Path:
    """A set made in one go. Not to be changed."""
    with pytest.MonkeyPatch.context() as patched:
        perturb_here(patched)
        return main(config(inputs, inputs / "straight"))


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    perturb_here(monkeypatch)


def config(inputs: Path, output: Path, **change: Any) -> PerturbConfig:
    values = {
        "dataset": inputs / "digits", "classifier": str(inputs / "classifier"), "output": output,
        "attack": "universal", "eps": 0.25, "steps": 6, "sample_rows": 100, "rows_per_shard": 16,
        "num_workers": 2,
    }  # fmt: skip
    return PerturbConfig(**{**values, **change})


def rows_of(path: Path) -> pa.Table:
    opened = open_perturbation_set(path)
    return read_range(path, opened.shards, 0, opened.stop - opened.start).combine_chunks()


def write_shuffled(path: Path) -> Path:
    """The rows of `inputs` in other places, in other shards."""
    images, labels = digits()
    splits, generator = {}, np.random.default_rng(3)
    for split, rows in (("train", np.arange(200)), ("test", np.arange(len(labels) - 60, 1797))):
        order = generator.permutation(rows)
        table = dataset_table([f"digit-{i}" for i in order], images[order], labels[order], None)
        splits[split] = [write_shard(table, path, f"{split}/part-00000.parquet")]
    write_dataset_info(
        path, shape=(8, 8, 1), classes=CLASSES, splits=splits, has_captions=False, origin={}
    )
    return path


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("attack", [{"restarts": 2}, {"norm": "l2", "eps": 1.5}, {"target": "8"}])
def test_every_row_is_its_picture_plus_the_one_perturbation_and_the_making_is_told_once(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], attack: dict[str, Any]
) -> None:
    path = main(config(inputs, tmp_path / "set", **attack))
    rows, manifest = rows_of(path), read_json(path / MANIFEST_FILE)
    delta = np.load(path / DELTA_FILE)
    assert np.array_equal(images_of(rows, "adversarial"), with_delta(images_of(rows), delta))
    wrong = labels_of(rows, "clean_prediction") != labels_of(rows)
    assert bool(wrong.any())  # which moves too, and is no success
    assert not rows.column("success").to_numpy()[wrong].any()
    assert set(rows.column("forwards").to_pylist()) == {1}
    assert set(rows.column("backwards").to_pylist()) == {0}
    counts, told = manifest["counts"], manifest["universal"]
    assert counts["successes"] > 3
    assert told["fooling_rate"] == counts["successes"] / counts["clean_right"]
    assert told["sample_rows"] == 100
    beginnings = attack.get("restarts", 1)
    size = min(128, told["sample_usable"])
    assert told["backwards"] == beginnings * 6 * size
    assert told["forwards"] == 100 + beginnings * (6 * size + told["sample_usable"])
    assert (path / UNIVERSAL_PICTURE_FILE).read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().out
    assert f"one perturbation fools {told['fooling_rate']:.2%} of {counts['clean_right']}" in said
    assert verify_directory(path).faults.lines() == []
    classifier, info = Classifier.load(inputs / "classifier"), load_dataset(inputs / "digits")
    assert verify_perturbation_set(path, classifier, info).faults == ()


@pytest.mark.usefixtures("without_ray")
def test_neither_shards_nor_the_order_of_the_rows_change_a_byte(
    inputs: Path, straight: Path, tmp_path: Path
) -> None:
    whole = main(config(inputs, tmp_path / "whole", rows_per_shard=60))
    data = write_shuffled(tmp_path / "data")
    shuffled = main(config(inputs, tmp_path / "shuffled", dataset=data))
    for other in (whole, shuffled):
        assert (other / DELTA_FILE).read_bytes() == (straight / DELTA_FILE).read_bytes()
    assert rows_of(whole).equals(rows_of(straight))
    by_id = [rows_of(path).drop_columns("row").sort_by("id") for path in (straight, shuffled)]
    assert by_id[0].equals(by_id[1])


@pytest.mark.usefixtures("without_ray")
def test_a_run_that_died_goes_on_with_the_perturbation_that_it_had_made(
    inputs: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = tmp_path / "set", []

    class DyingMaker(Preparer):
        def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
            super().__call__(shard)
            raise KeyboardInterrupt  # the file is there, and no record of it

    class Dying(Perturber):
        def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
            if len(made) == 2:
                raise KeyboardInterrupt
            made.append(shard["file"])
            return super().__call__(shard)

    for name, dies in (("Preparer", DyingMaker), ("Perturber", Dying)):
        with monkeypatch.context() as patched:
            patched.setattr(f"jobs.perturb.{name}", dies)
            with pytest.raises(KeyboardInterrupt):
                main(config(inputs, path))
    before = {file: (path / file).stat().st_mtime_ns for file in (DELTA_FILE, *made)}
    main(config(inputs, path))
    assert {file: (path / file).stat().st_mtime_ns for file in before} == before
    same_set(path, straight)


@pytest.mark.usefixtures("without_ray")
def test_shards_of_a_perturbation_that_was_lost_are_made_anew(
    inputs: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set"
    with monkeypatch.context() as patched:
        patched.setattr("jobs.perturb.draw_robustness", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(config(inputs, path))
    np.save(path / DELTA_FILE, np.zeros((8, 8, 1), np.int16))
    before = (path / "part-00000.parquet").stat().st_mtime_ns
    main(config(inputs, path))
    assert (path / "part-00000.parquet").stat().st_mtime_ns > before
    same_set(path, straight)


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def same_set(path: Path, straight: Path) -> None:
    ours, theirs = (read_json(place / MANIFEST_FILE) for place in (path, straight))
    assert ours["content_sha256"] == theirs["content_sha256"]
    assert ours["universal"] == theirs["universal"]
    for file in (DELTA_FILE, *(shard["file"] for shard in theirs["shards"])):
        assert (path / file).read_bytes() == (straight / file).read_bytes()
    assert verify_directory(path).faults.lines() == []


def test_verify_tells_a_row_that_is_not_its_picture_plus_the_perturbation(
    inputs: Path, straight: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(straight, tmp_path / "set"))
    kept = (path / DELTA_FILE).read_bytes()

    def exchanged(table: pa.Table) -> pa.Table:
        """The changes of two pixels of row 3 exchanged, so that no distance differs."""
        pictures, clean = images_of(table, "adversarial").copy(), images_of(table)[3].flatten()
        change = pictures[3].flatten().astype(int) - clean
        first, second = next(
            (i, j)
            for i, j in itertools.combinations(range(clean.size), 2)
            if change[i] != change[j]
            and 0 <= clean[i] + change[j] <= 255
            and 0 <= clean[j] + change[i] <= 255
        )
        pictures[3].reshape(-1)[[first, second]] = clean[[first, second]] + change[[second, first]]
        place = table.column_names.index("adversarial")
        return table.set_column(place, table.schema.field(place), image_column(pictures))

    replant(path, "part-00001.parquet", exchanged)
    assert verify_directory(path).faults.lines() == [f"part-00001.parquet: row 3: {NOT_DELTA}"]
    classifier, info = Classifier.load(inputs / "classifier"), load_dataset(inputs / "digits")
    report = verify_perturbation_set(path, classifier, info)
    assert f"{NOT_DELTA}: 1 times, first row 19" in report.faults
    (path / DELTA_FILE).write_bytes(kept + b" ")
    (line,) = verify_directory(path).faults.lines()
    assert line.startswith(f"{DELTA_FILE}: ")
    assert "has not the recorded SHA-256" in line
    (path / DELTA_FILE).unlink()
    (line,) = verify_directory(path).faults.lines()
    assert "is missing" in line
    (path / DELTA_FILE).write_bytes(kept)
    manifest = read_json(path / MANIFEST_FILE)
    rehash(path, {**manifest, "attack": {**manifest["attack"], "delta_sha256": "0" * 64}})
    (line,) = verify_directory(path).faults.lines()
    assert "has not the recorded SHA-256" in line


def test_a_worker_takes_no_other_perturbation_than_the_one_that_was_made(
    inputs: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / DELTA_FILE, np.zeros((8, 8, 1), np.int16))
    with pytest.raises(UserError, match="has not the recorded SHA-256"):
        Perturber(
            dataset=inputs / "digits",
            classifier=str(inputs / "classifier"),
            split="test",
            output=tmp_path,
            attack=config(inputs, tmp_path).set_attack().with_file({"sha256": "0" * 64}),
        )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--attack universal --eps 0.003", "eps is 0.003, less than one level"),
        ("--attack universal --sample-rows 0", "sample-rows"),
        (
            "--attack universal --sample-split nope",
            "no split 'nope' with pictures to make the perturbation",
        ),
        ("--attack universal --norm l1", "universal is for the norms linf and l2, not l1"),
        ("--attack universal --target random", "aims all pictures at one class, not at random"),
        ("--attack universal --target 8 --loss-clip 2", "takes no loss_clip with a target"),
        ("--attack universal --eot-draws 2", "the attack universal is not told eot_draws"),
        ("--attack universal --ensemble fast", "the attack universal is not told ensemble"),
        ("--attack pgd --sample-rows 9", "the attack pgd is not told sample_rows; leave it out"),
    ],
)
def test_mistakes_are_told_in_one_line_with_code_2(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    arguments = [
        "--dataset", str(inputs / "digits"), "--classifier", str(inputs / "classifier"),
        "--output", str(tmp_path / "set"), *flags.split(),
    ]  # fmt: skip
    assert COMMAND.run(arguments, prog="perturb") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_the_shipped_config_is_read() -> None:
    file = Path(__file__).parents[2] / "configs" / "perturb_universal.yaml"
    shipped = read_config(PerturbConfig, ["--config", str(file)], "perturb")
    assert shipped.set_attack() == Universal(UniversalAttack(Norm.LINF, 25))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_the_set_is_the_same(inputs: Path, straight: Path, tmp_path: Path) -> None:
    path = main(config(inputs, tmp_path / "set", rows_per_shard=30))
    assert (path / DELTA_FILE).read_bytes() == (straight / DELTA_FILE).read_bytes()
    assert rows_of(path).equals(rows_of(straight))


def test_it_passes_the_check_that_has_none_of_our_code(inputs: Path, straight: Path) -> None:
    pytest.importorskip("onnxscript")
    classifier, onnx = Classifier.load(inputs / "classifier"), inputs / CLASSIFIER_FILE
    export_classifier(classifier, onnx)
    checker = Path(__file__).parents[2] / "docs" / "check_perturbations.py"
    command = [sys.executable, checker, straight, inputs / "digits", onnx]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
