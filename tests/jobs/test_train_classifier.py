"""The job `train_classifier`: it learns, goes on where it stopped, and keeps what was good."""

from pathlib import Path

import pytest
import torch
from digit_set import CLASSES, digits, write_digit_samples, write_digits
from in_this_process import train_here

from jobs.common import fitting
from jobs.train_classifier import COMMAND, TrainClassifierConfig, main, worker
from noisestack.flags import read_config
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.evaluation.accuracy import evaluate_under_pgd
from pipeline.formats.dataset import dataset_table, load_dataset, write_dataset_info, write_shard
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import open_sample_set
from pipeline.intervals import clopper_pearson
from pipeline.training.checkpoint import newest_checkpoint
from pipeline.training.objectives.natural import CrossEntropy


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits"
    write_digits(path, num_train=600, num_test=100)
    return path


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    train_here(monkeypatch)


def config(dataset: Path, output: Path, **change: object) -> TrainClassifierConfig:
    values: dict[str, object] = {
        "dataset": dataset,
        "output": output,
        "steps": 12,
        "batch_size": 32,
        "widths": (8, 16),
        "max_shift": 1,
        "log_every": 3,
        "checkpoint_every": 4,
        "num_workers": 0,
        **change,
    }
    return TrainClassifierConfig(**values)


@pytest.mark.usefixtures("without_ray")
def test_a_run_publishes_a_classifier_with_its_accuracy_and_can_be_given_again(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config(dataset, tmp_path / "run", steps=60, batch_size=96, widths=(16, 32), max_shift=0)
    path = main(run)
    assert path == tmp_path / "run" / "model"
    classifier = Classifier.load(path)
    assert classifier.classes == CLASSES
    images, labels = digits()
    right = int((classifier.predict(images[-100:]) == labels[-100:]).sum())
    card = read_json(path / "card.json")
    assert card["test_accuracy"] == right / 100 > 0.8
    assert card["test_accuracy_interval_95"] == list(clopper_pearson(right, 100))
    assert card["test_rows"] == 100
    assert card["pgd"] is None
    lines = read_metrics(tmp_path / "run" / METRICS_FILE)
    assert [line["step"] for line in lines] == sorted({1, *range(3, 61, 3), *range(4, 61, 4)})
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert all(0 <= line["accuracy"] <= 1 and line["seconds_left"] >= 0 for line in lines)
    said = capsys.readouterr().out
    assert "step 60 of 60" in said
    assert "pictures/s" in said
    assert "test accuracy" in said
    before = (path / "card.json").stat().st_mtime_ns
    assert main(run) == path
    assert (path / "card.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        main(run.model_copy(update={"seed": 1}))
    main(run.model_copy(update={"steps": 64}))
    assert "step 64 of 64" in capsys.readouterr().out
    assert read_json(path / "card.json")["training"]["steps"] == 64
    assert [line["step"] for line in read_metrics(tmp_path / "run" / METRICS_FILE)] == sorted(
        {1, *range(3, 64, 3), *range(4, 65, 4)}
    )
    with pytest.raises(UserError, match="has 64 steps done, and 60 are asked for"):
        main(run)


@pytest.mark.usefixtures("without_ray")
def test_an_interrupted_run_ends_with_the_same_model_as_one_without_interruption(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    samples = write_digit_samples(tmp_path / "samples", digits()[1][:50])

    def run(name: str) -> TrainClassifierConfig:
        return config(
            dataset,
            tmp_path / name,
            adversarial_loss="pgd",
            eps=0.1,
            eps_warmup=6,
            ema_halflife=64,
            generated=samples,
            generated_share=0.25,
        )

    main(run("whole"))
    said = capsys.readouterr().out
    assert "adversarial training, pgd, within 25 of 255 levels in linf" in said
    assert "25% of each batch from 50 samples" in said
    assert "accuracy on perturbed pictures" in said
    assert "accuracy under 20 steps of PGD within 25 of 255 levels" in said
    save = fitting.save_checkpoint

    def interrupted(directory: Path, step: int, tensors: dict[str, torch.Tensor]) -> Path:
        path = save(directory, step, tensors)
        if step == 8:
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(run("parts"))
    found = newest_checkpoint(tmp_path / "parts" / "checkpoints")
    assert found is not None
    assert found[0] == 8
    main(run("parts"))
    whole, parts = (Classifier.load(tmp_path / name / "model") for name in ("whole", "parts"))
    assert parts.sha256 == whole.sha256
    card = read_json(tmp_path / "parts" / "model" / "card.json")
    chosen = keyed_sample(load_dataset(dataset), "test", 500, run("parts").seed, 10)
    withstood = evaluate_under_pgd(parts, chosen.images, chosen.labels, levels=25, steps=20)
    assert card["pgd"]["levels"] == 25
    assert card["pgd"]["rows"] == 100
    assert card["pgd"]["accuracy"] == withstood.accuracy
    assert card["generated_sha256"] == open_sample_set(samples).sha256
    assert card["training"]["generated_share"] == 0.25
    steps = [line["step"] for line in read_metrics(tmp_path / "parts" / METRICS_FILE)]
    assert steps == [1, 3, 4, 6, 8, 9, 12]


@pytest.mark.usefixtures("without_ray")
def test_training_under_noise_says_its_sigma_and_the_card_keeps_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = {"adversarial_loss": "cat_rs", "noise_sigma": 0.25, "eps_l2": 0.5}
    card = read_json(main(config(dataset, tmp_path / "run", steps=2, **noise)) / "card.json")
    said = capsys.readouterr().out
    assert (
        "smooth training, cat_rs, 2 copies of a picture under noise of sigma 0.25 "
        "(pixels in [0, 1]), within 0.5 in L2"
    ) in said
    assert "accuracy under noise" in said
    assert {key: card["training"][key] for key in noise} == noise
    assert card["pgd"] is None


@pytest.mark.usefixtures("without_ray")
def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_last_good_checkpoint(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(self, network, parallel, rows):  # type: ignore[no-untyped-def]
        loss, logits = loss_of(self, network, parallel, rows)
        return (loss * float("nan") if rows.step == 6 else loss), logits

    loss_of = CrossEntropy.__call__
    monkeypatch.setattr(CrossEntropy, "__call__", diverging)
    with pytest.raises(UserError, match="the loss is nan at step 7; the last good checkpoint"):
        main(config(dataset, tmp_path / "run"))
    found = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found[0] == 4
    assert [line["step"] for line in read_metrics(tmp_path / "run" / METRICS_FILE)] == [1, 3, 4, 6]
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_weights_that_are_not_finite_are_never_kept(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(self, images, labels):  # type: ignore[no-untyped-def]
        update(self, images, labels)
        if self.step == 8:
            with torch.no_grad():
                self._network.head.bias[0] = float("inf")

    update = worker.ClassifierTrainer.update
    monkeypatch.setattr(worker.ClassifierTrainer, "update", overflowing)
    with pytest.raises(UserError, match="the weights are not finite after step 8"):
        main(config(dataset, tmp_path / "run"))
    found = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found[0] == 4


@pytest.mark.usefixtures("without_ray")
def test_two_workers_take_the_step_of_the_whole_batch(dataset: Path, tmp_path: Path) -> None:
    # In one step each holds half of the batch; the mean of their gradients is that of the whole.
    # Shifts and starting points are drawn by row, so both see the same perturbed pictures.
    same = {"steps": 1, "adversarial_loss": "pgd", "eps": 0.1}
    one = main(config(dataset, tmp_path / "one", **same))
    two = main(config(dataset, tmp_path / "two", num_workers=2, **same))
    images = digits()[0][:64]
    torch.testing.assert_close(
        torch.from_numpy(Classifier.load(two).logits_of(images)),
        torch.from_numpy(Classifier.load(one).logits_of(images)),
        rtol=1e-3,
        atol=1e-3,
    )
    losses = [read_metrics(tmp_path / name / METRICS_FILE)[0]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_dataset_without_labels_or_with_an_empty_split_is_refused(tmp_path: Path) -> None:
    images, labels = digits()
    shards = {
        split: [write_shard(table, tmp_path / "plain", f"{split}/part-00000.parquet")]
        for split, table in (
            ("train", dataset_table(["a"], images[:1], None, ["a digit"])),
            ("test", dataset_table(["b"], images[1:2], None, ["a digit"])),
        )
    }
    write_dataset_info(
        tmp_path / "plain", shape=(8, 8, 1), classes=(), splits=shards, has_captions=True, origin={}
    )
    with pytest.raises(UserError, match="at least 2 classes, the dataset has 0"):
        main(config(tmp_path / "plain", tmp_path / "run"))
    table = dataset_table(["a"], images[:1], labels[:1], None)
    some = write_shard(table, tmp_path / "half", "train/part-00000.parquet")
    write_dataset_info(
        tmp_path / "half",
        shape=(8, 8, 1),
        classes=CLASSES,
        splits={"train": [some], "test": []},
        has_captions=False,
        origin={},
    )
    with pytest.raises(UserError, match=r"the split test of .* is empty"):
        main(config(tmp_path / "half", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_batch_that_workers_cannot_share_evenly_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be split evenly over 3 workers"):
        main(config(dataset, tmp_path / "run", num_workers=3))


def test_the_command_line_answers_a_mistake_with_one_line_and_code_2(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--dataset", str(dataset), "--output", str(tmp_path / "run"), "--widths", "12,24"]
    assert COMMAND.run(arguments, prog="train-classifier") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: widths must be positive multiples of 8")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["digits", "fashion_mnist", "fashion_mnist_robust", "fashion_mnist_gaussian"]
)
def test_the_shipped_configs_are_read(name: str) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / f"classifier_{name}.yaml"
    shipped = read_config(TrainClassifierConfig, ["--config", str(file)], "train-classifier")
    assert all(width % 8 == 0 for width in shipped.widths)
    assert 64 <= shipped.widths[-1] <= 128  # the features that Fréchet distances are measured on
