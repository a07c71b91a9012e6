"""The job `generate`: what `sample` draws, whoever makes it, once each; mistakes told first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_this_process import generate_here
from PIL import Image
from small_stack import SPEC, small_stack

import noisestack as ns
from jobs.common.pools import Pool
from jobs.common.row_ranges import RowRanges
from jobs.generate import COMMAND, main
from jobs.generate.config import GenerateConfig, shard_rows
from jobs.generate.plans import label_plan
from jobs.generate.pools import make_pools
from pipeline.errors import UserError
from pipeline.formats.sample_set import iterate_samples, open_sample_set
from pipeline.formats.shard import images_of, labels_of, shards_from_json
from pipeline.pictures import display_scale, grid
from pipeline.plots.class_sheet import class_sheet
from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.cost import share_out, stage_costs
from pipeline.sampling.labels import all_in_turn
from pipeline.sampling.plan import ConditionPlan
from pipeline.sampling.workers import SampleJob, StackWorker, StageWorker
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import StackSpec

COUNT, SEED = 20, 11


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "model"
    save_stack(small_stack(), {}, path, {})
    return path


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    generate_here(monkeypatch)


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
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows_per_shard: int,
    num_workers: int,
) -> None:
    how = {"rows_per_shard": rows_per_shard, "num_workers": num_workers}
    path = ns.jobs.generate(config(model, tmp_path / "set", **how))
    assert path == tmp_path / "set"
    images, labels = stored(path)
    np.testing.assert_array_equal(ns.load_stack(model).sample(seed=SEED, count=COUNT), images)
    assert labels.tolist() == [index % 3 for index in range(COUNT)]
    assert f"generate: {COUNT} of {COUNT} samples (100%)" in capsys.readouterr().err
    np.testing.assert_array_equal(images, drawn(model, labels))
    assert not (tmp_path / "set" / "records").exists()
    with Image.open(tmp_path / "set" / "grid.png") as picture:
        expected = grid(images, 10, scale=display_scale(8))
        assert np.array_equal(np.asarray(picture), np.asarray(expected))
    with Image.open(tmp_path / "set" / "classes.png") as picture:
        expected = class_sheet(images, labels, ("zero", "one", "two"))
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


@pytest.mark.usefixtures("without_ray")
def test_named_labels_and_options_reach_every_sample(model: Path, tmp_path: Path) -> None:
    chosen = {"sampler": "ancestral", "layers": (1, 4), "guidance": 3.0, "guidance_low": 0.5}
    chosen["guidance_rescale"] = 0.5
    main(config(model, tmp_path / "set", labels=("two", "-"), **chosen))
    images, labels = stored(tmp_path / "set")
    assert labels.tolist() == [2, -1] * (COUNT // 2)
    options = SamplingOptions("ancestral", (1, 4), 3.0, (0.5, 1e6), rescale=0.5)
    np.testing.assert_array_equal(images, drawn(model, labels, options))
    origin = open_sample_set(tmp_path / "set").origin
    assert origin["model_sha256"] == Stack.load(model).sha256
    assert origin["options"]["layers"] == [1, 4]
    assert origin["options"]["rescale"] == 0.5


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("network", ["nested", "stage"])
def test_a_pool_of_actors_for_each_stage_makes_the_same_bytes(
    tmp_path: Path, network: str, request: pytest.FixtureRequest
) -> None:
    model = tmp_path / "model"
    save_stack(small_stack(network=network), {}, model, {})
    whole = SampleJob(model, tmp_path / "whole", SEED, all_in_turn(SPEC.classes), SamplingOptions())
    worker = StackWorker(whole)
    shards = shards_from_json([worker(shard) for shard in RowRanges(COUNT, 8)], whole.output)
    main(config(model, tmp_path / "actors", pools="stages", num_workers=3))
    assert open_sample_set(tmp_path / "actors").shards == shards  # hashes of the files among them
    request.getfixturevalue("without_ray")
    main(config(model, tmp_path / "here", pools="stages"))
    assert open_sample_set(tmp_path / "here").shards == shards


@pytest.mark.usefixtures("without_ray")
def test_a_column_gives_each_sample_its_caption_and_decides_how_many_there_are(
    model: Path, tmp_path: Path
) -> None:
    wanted = ["One", "zero", "two", "two", "zero", "one", "one"]
    pq.write_table(pa.table({"text": wanted}), tmp_path / "wanted.parquet")
    given = {"labels_from": tmp_path / "wanted.parquet", "captions_column": "text"}
    main(config(model, tmp_path / "set", count=None, rows_per_shard=3, **given))
    images, labels = stored(tmp_path / "set")
    assert labels.tolist() == [1, 0, 2, 2, 0, 1, 1]
    np.testing.assert_array_equal(images, drawn(model, labels))
    tables = iterate_samples(open_sample_set(tmp_path / "set"), ["caption"])
    captions = [text for table in tables for text in table.column("caption").to_pylist()]
    assert captions == wanted
    # Another file of the same name is another config.
    pq.write_table(pa.table({"text": wanted[::-1]}), tmp_path / "wanted.parquet")
    with pytest.raises(UserError, match=r"another config \(labels.sha256"):
        main(config(model, tmp_path / "set", count=None, rows_per_shard=3, **given))


@pytest.mark.usefixtures("without_ray")
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
        ({"labels": ("two", "four")}, "--labels: the model takes a class and has no class 'four'"),
        ({"labels": ()}, "--labels is empty"),
        ({"captions": ("a two",)}, "--captions: .* no class 'a two', only zero, one, two"),
        ({"per_class": {"four": 2}, "count": None}, "--per-class: .* has no class 'four'"),
        ({"labels_from": Path("/nonexistent.parquet")}, "/nonexistent.parquet does not exist"),
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


def test_a_row_that_is_no_class_is_told_before_anything_starts(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "wanted.parquet"
    pq.write_table(pa.table({"label": [0, 1, 2, 0, 3]}), file)
    with pytest.raises(UserError, match=f"row 4 of {file}, column label: .* only zero, one, two"):
        main(config(model, tmp_path / "set", labels_from=file))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--labels", "nought"],
            "--labels: the model takes a class and has no class 'nought', only zero, one, two",
        ),
        (
            ["--labels", "two", "--per-class", "5"],
            "--labels and --per-class each say the labels; give one of them",
        ),
        (
            ["--captions", "two", "--labels-from", "x.parquet"],
            "--captions and --labels-from each say the labels; give one of them",
        ),
        (
            ["--per-class", "two=5,one=6", "--count", "11"],
            "--per-class says how many samples there are; leave out --count",
        ),
        (
            ["--labels-from", "x", "--labels-column", "a", "--captions-column", "b"],
            "--labels-column and --captions-column: give one of them",
        ),
        (["--labels-column", "a"], "--labels-column is about --labels-from; give that too"),
        (["--labels-split", "test"], "--labels-split is about --labels-from; give that too"),
        (["--per-class=-1"], "--per-class: should be greater than or equal to 0"),
    ],
)
def test_the_command_line_answers_a_mistake_with_one_line_and_code_2(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    told: str,
) -> None:
    arguments = ["--model", str(model), "--output", str(tmp_path / "set"), *flags]
    assert COMMAND.run(arguments, prog="generate") == 2
    captured = capsys.readouterr().err
    assert captured.startswith(f"error: {told}")
    assert captured.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "num_rows", "first"),
    [
        ({}, None, [0, 1, 2, 0]),
        ({"labels": ("2", "one")}, None, [2, 1, 2, 1]),
        ({"captions": ("two", "one")}, None, [2, 1, 2, 1]),
        ({"per_class": 2}, 6, [0, 1, 2, 0]),
        ({"per_class": {"two": 3, "zero": 1}}, 4, [2, 0, 2, 2]),
    ],
)
def test_labels_are_said_in_one_of_these_ways(
    given: dict[str, Any], num_rows: int | None, first: list[int]
) -> None:
    told = GenerateConfig(model=Path("model"), output=Path("set"), **given)
    plan = label_plan(told, ("zero", "one", "two"))
    assert plan.num_rows == num_rows
    assert plan.rows(0, 4).labels.tolist() == first


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": ("zero", "one")}, "--labels: no picture was trained on for the class one"),
        ({"captions": ("one",)}, "--captions: no picture was trained on for the class one"),
        ({"per_class": {"one": 3}}, "--per-class: no picture was trained on for the class one"),
    ],
)
def test_a_class_that_nothing_was_trained_on_is_left_out_and_refused_by_name(
    given: dict[str, Any], told: str
) -> None:
    def plan(**given: Any) -> ConditionPlan:
        asked = GenerateConfig(model=Path("model"), output=Path("set"), **given)
        return label_plan(asked, ("zero", "one", "two"), (1,))

    assert plan().rows(0, 4).labels.tolist() == [0, 2, 0, 2]
    assert plan(per_class=1).rows(0, 2).labels.tolist() == [0, 2]
    with pytest.raises(UserError, match=told):
        plan(**given)


def test_pools_are_the_whole_stack_on_a_cpu_and_by_the_cost_of_stages_where_asked_for() -> None:
    told = SampleJob(Path("m"), Path("o"), SEED, all_in_turn(SPEC.classes), SamplingOptions())
    costs = stage_costs(SPEC)

    def pools(spec: StackSpec = SPEC, **changes: Any) -> list[Pool]:
        return make_pools(GenerateConfig(model=Path("m"), output=Path("o"), **changes), spec, told)

    for chosen in ("auto", "whole"):
        (whole,) = pools(pools=chosen, num_workers=7)
        assert (whole.worker_class, whole.num_workers) == (StackWorker, 7)
    stages = pools(pools="stages")
    assert [pool.worker_class for pool in stages] == [StageWorker, StageWorker]
    assert [pool.worker_args["stage"] for pool in stages] == [0, 1]
    assert [(pool.cost, pool.num_workers) for pool in stages] == [(cost, None) for cost in costs]
    shared = [pool.num_workers for pool in pools(pools="stages", num_workers=9)]
    assert shared == list(share_out(9, costs))
    assert sum(filter(None, shared)) == 9
    alone = replace(SPEC, stages=SPEC.stages[1:], layers=(3,))
    (single,) = pools(alone, pools="stages")  # a chain of one is the whole stack
    assert single.worker_class is StackWorker


@pytest.mark.parametrize(
    ("count", "shape", "rows_per_call", "rows", "shards"),
    [
        (1, (28, 28, 1), 32, 256, 1),
        (1000, (28, 28, 1), 32, 256, 4),
        (1000, (28, 28, 1), 100, 300, 4),  # whole calls: nothing is padded but the last
        (10**6, (28, 28, 1), 32, 256, 3907),
        (10**7, (28, 28, 1), 32, 2432, 4112),
        (10**9, (28, 28, 1), 32, 16_384, 61_036),
        (10**9, (64, 64, 3), 32, 2720, 367_648),  # 32 MiB of pictures
        (100, (1024, 1024, 3), 32, 32, 4),
    ],
)
def test_shards_are_few_but_none_is_too_much_to_make_again(
    count: int, shape: tuple[int, int, int], rows_per_call: int, rows: int, shards: int
) -> None:
    spec = replace(SPEC, shape=shape, rows_per_call=rows_per_call)
    assert shard_rows(count, spec) == rows
    assert len(RowRanges(count, rows)) == shards
