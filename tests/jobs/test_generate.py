"""The job `generate`: what `sample` draws, whoever makes it, once each; mistakes told first."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_stack import small_stack

from jobs import generate
from jobs.generate import COMMAND, GenerateConfig, main
from pipeline.errors import UserError
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of, labels_of
from pipeline.sampling import SamplingOptions, sample
from pipeline.stack import Stack, save_stack

COUNT, SEED = 20, 11


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "model"
    save_stack(small_stack(), {}, path, {})
    return path


def config(model: Path, output: Path, **changes: Any) -> GenerateConfig:
    values = {"count": COUNT, "seed": SEED, "rows_per_shard": 8, "num_workers": 2, **changes}
    return GenerateConfig(model=model, output=output, **values)


def drawn(model: Path, labels: np.ndarray, options: SamplingOptions | None = None) -> np.ndarray:
    """The same samples without the job, in one batch."""
    indices = np.arange(len(labels))
    return sample(Stack.load(model), np.full(len(labels), SEED), indices, labels, options)


def stored(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A set's pictures and labels, in the order of their indices."""
    tables = list(iterate_samples(open_sample_set(path)))
    indices = np.concatenate([table.column("sample_index").to_numpy() for table in tables])
    np.testing.assert_array_equal(indices, np.arange(len(indices)))
    images = np.concatenate([images_of(table) for table in tables])
    return images, np.concatenate([labels_of(table) for table in tables])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("rows_per_shard", "num_workers"), [(8, 2), (COUNT, 1)])
def test_the_job_writes_what_sample_draws_however_it_is_cut(
    model: Path, tmp_path: Path, rows_per_shard: int, num_workers: int
) -> None:
    main(config(model, tmp_path / "set", rows_per_shard=rows_per_shard, num_workers=num_workers))
    images, labels = stored(tmp_path / "set")
    assert labels.tolist() == [index % 3 for index in range(COUNT)]
    np.testing.assert_array_equal(images, drawn(model, labels))
    assert not (tmp_path / "set" / "records").exists()
    with Image.open(tmp_path / "set" / "grid.png") as grid:
        assert grid.width > grid.height > 3 * 8


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_named_labels_and_options_reach_every_sample(model: Path, tmp_path: Path) -> None:
    chosen = {"sampler": "ancestral", "layers": (1, 4), "guidance": 3.0, "guidance_low": 0.5}
    main(config(model, tmp_path / "set", labels=("two", "-"), **chosen))
    images, labels = stored(tmp_path / "set")
    assert labels.tolist() == [2, -1] * (COUNT // 2)
    options = SamplingOptions("ancestral", (1, 4), 3.0, (0.5, 1e6))
    np.testing.assert_array_equal(images, drawn(model, labels, options))
    origin = open_sample_set(tmp_path / "set").origin
    assert origin["model_sha256"] == Stack.load(model).sha256
    assert origin["options"]["layers"] == [1, 4]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_interrupted_run_goes_on_to_the_same_bytes_and_redoes_no_finished_shard(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    settings = config(model, tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr(generate, "write_manifest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(settings)
    with pytest.raises(UserError, match="not a finished one"):
        open_sample_set(tmp_path / "set")
    kept, lost = tmp_path / "set/part-00000.parquet", tmp_path / "set/part-00001.parquet"
    before = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    main(settings)
    assert (kept.stat().st_mtime_ns, lost.read_bytes()) == before
    images, labels = stored(tmp_path / "set")
    np.testing.assert_array_equal(images, drawn(model, labels))
    # And a finished set is left as it is.
    main(settings)
    assert kept.stat().st_mtime_ns == before[0]
    assert "is there already, made by this config" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_another_config_is_refused_and_overwrite_replaces_the_set(
    model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "set"
    main(config(model, output, count=3))
    before = pq.read_table(output / "part-00000.parquet")
    with pytest.raises(UserError, match="seed"):
        main(config(model, output, count=3, seed=SEED + 1))
    assert pq.read_table(output / "part-00000.parquet").equals(before)
    main(config(model, output, count=3, seed=SEED + 1, overwrite=True))
    assert open_sample_set(output).origin["seed"] == SEED + 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("two", "four")}, "no class 'four', only zero, one, two"),
        ({"labels": ()}, "--labels is empty"),
        ({"layers": (3,)}, "layers"),
        ({"model": Path("/nonexistent/model")}, "/nonexistent/model"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    model: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    given = {"model": model, **changes}
    with pytest.raises(UserError, match=message):
        main(config(output=tmp_path / "set", **given))
    assert not (tmp_path / "set").exists()


def test_the_command_line_answers_a_mistake_with_one_line_and_code_2(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(model), "--output", str(tmp_path / "set"), "--labels", "nought"]
    assert COMMAND.run(arguments, prog="generate") == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: --labels: the model has no class 'nought'")
    assert captured.count("\n") == 1
