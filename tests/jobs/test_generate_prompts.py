"""`generate` by sentences: what `sample` draws on the encoder's values; mistakes told first."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_this_process import generate_here
from small_stack import small_stack
from text_model import TextModel, text_model
from tiny_encoders import sentences, tiny_bert

from jobs.common.row_ranges import RowRanges
from jobs.generate import COMMAND, main
from jobs.generate.config import GenerateConfig
from jobs.verify import COMMAND as VERIFY
from noisestack.flags import read_config
from pipeline.formats.output import read_json, write_json
from pipeline.formats.sample_set import condition_hashes, iterate_samples, open_sample_set
from pipeline.formats.seal import SEAL, sealed
from pipeline.formats.shard import images_of, write_shard
from pipeline.sampling import SamplingOptions, sample
from pipeline.sampling.prompts import PromptsInTurn
from pipeline.sampling.workers import SampleJob, StackWorker, StageWorker
from pipeline.stack import Stack, save_stack

pytest.importorskip("transformers")

SEED, COUNT = 11, 9
PROMPTS = ("a red circle, above a blue square", "-", "two dogs .", "a cat")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return text_model(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="module")
def label_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "model"
    save_stack(small_stack(), {}, path, {})
    return path


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    generate_here(monkeypatch)


def generate(model: Path, output: Path, **changes: Any) -> pa.Table:
    values = {"count": COUNT, "seed": SEED, "rows_per_shard": 8, **changes}
    main(GenerateConfig(model=model, output=output, **values))
    return pa.concat_tables(iterate_samples(open_sample_set(output)))


def conditions_of(model: TextModel, prompts: list[str]) -> np.ndarray:
    """The condition of each prompt, encoded alone."""
    encoder = model.load_encoder()
    null = np.zeros((1, 1 + model.condition.length, model.condition.size), np.float32)
    rows = [null if prompt == "-" else encoder.conditions([prompt]) for prompt in prompts]
    return np.concatenate(rows)


def test_the_job_writes_what_sample_draws_on_each_prompt(model: TextModel, tmp_path: Path) -> None:
    table = generate(model.path, tmp_path / "set", prompts=PROMPTS)
    prompts = [PROMPTS[i % 4] for i in range(COUNT)]
    assert table.column("caption").to_pylist() == prompts
    assert table.column("label").to_pylist() == [-1] * COUNT
    conditions = conditions_of(model, prompts)
    assert table.column("condition_sha256").to_pylist() == condition_hashes(conditions)
    drawn = sample(Stack.load(model.path), np.full(COUNT, SEED), np.arange(COUNT), conditions)
    np.testing.assert_array_equal(images_of(table), drawn)
    assert len({image.tobytes() for image in drawn}) == COUNT
    origin = open_sample_set(tmp_path / "set").origin
    assert origin["prompts"] == {"prompts": list(PROMPTS)}
    assert origin["condition"]["encoder"]["sha256"] == model.load_encoder().id.sha256
    assert "labels" not in origin


def test_stage_workers_and_any_cut_into_shards_give_the_same_bytes(
    model: TextModel, tmp_path: Path
) -> None:
    def job(name: str) -> SampleJob:
        return SampleJob(
            model.path, tmp_path / name, SEED, PromptsInTurn(PROMPTS), SamplingOptions()
        )

    (shard,) = RowRanges(14, 14)
    whole, staged = job("whole"), job("staged")
    record = StackWorker(whole)(shard)
    carry = None
    for stage in (0, 1):
        carry = StageWorker(staged, stage)(shard, carry)
    assert carry == record
    assert (whole.output / shard["file"]).read_bytes() == (
        staged.output / shard["file"]
    ).read_bytes()
    pieces = generate(model.path, tmp_path / "set", prompts=PROMPTS, count=14, rows_per_shard=5)
    assert pieces.equals(pq.read_table(whole.output / shard["file"]))


def test_a_column_of_a_dataset_gives_a_sample_a_row(model: TextModel, tmp_path: Path) -> None:
    texts = sentences(5, seed=1, most=3)
    pq.write_table(pa.table({"caption": texts, "other": texts[::-1]}), tmp_path / "a.parquet")
    by_row = generate(model.path, tmp_path / "set", count=None, prompts_from=tmp_path / "a.parquet")
    assert by_row.column("caption").to_pylist() == texts
    in_turn = generate(model.path, tmp_path / "turn", count=None, prompts=tuple(texts))
    assert by_row.equals(in_turn)
    named = {"prompts_from": tmp_path / "a.parquet", "prompts_column": "other"}
    other = generate(model.path, tmp_path / "other", count=2, **named)
    assert other.column("caption").to_pylist() == texts[:-3:-1]


def test_a_model_without_tokens_is_drawn_on_the_pooled_vector(tmp_path: Path) -> None:
    model = text_model(tmp_path, kind="embedding")
    table = generate(model.path, tmp_path / "set", prompts=("a cat",), count=2)
    pooled = np.repeat(conditions_of(model, ["a cat"])[:, 0], 2, axis=0)
    drawn = sample(Stack.load(model.path), np.full(2, SEED), np.arange(2), pooled)
    np.testing.assert_array_equal(images_of(table), drawn)


def test_a_prompt_that_is_cut_is_said(
    model: TextModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(model.path, tmp_path / "set", prompts=("a cat", *PROMPTS), count=None)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "longer" in line]
    assert told.startswith("generate: 1 text was longer than 6 tokens")
    assert "'a red circle, above" in told
    generate(model.path, tmp_path / "short", prompts=("a cat",), count=None)
    assert "longer" not in capsys.readouterr().err


def test_prompts_of_a_model_of_labels_are_names_of_classes(
    label_model: Path, tmp_path: Path
) -> None:
    table = generate(label_model, tmp_path / "set", prompts=("Two", "zero"), count=2)
    assert table.column("label").to_pylist() == [2, 0]
    assert table.column("caption").to_pylist() == ["Two", "zero"]
    assert "condition_sha256" not in table.column_names


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "the model takes sentences: give --prompts or --prompts-from"),
        (["--labels", "two"], "--labels: the model takes sentences and has no classes"),
        (["--per-class", "5"], "--per-class: the model takes sentences and has no classes"),
        (["--prompts", " "], "--prompts: a prompt is empty"),
        (["--prompts", "{tmp}/gap"], "--prompts: line 2 of {tmp}/gap is empty"),
        (["--prompts", "a cat", "--prompts", "☃ ☃"], None),
        (["--prompts", "a", "--labels", "b"], "--labels and --prompts each say what is drawn"),
        (["--prompts-column", "a"], "--prompts-column is about --prompts-from; give that too"),
        (["--prompts", "a", "--text-encoder", "{tmp}/other"], "{tmp}/other is another text"),
        (["--prompts", "a", "--text-encoder", "{tmp}/none"], "there is no text encoder {tmp}/none"),
        (["--prompts", "a", "--text-encoder", ""], "--text-encoder: '' is neither a path nor"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_computed(
    model: TextModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    told: str | None,
) -> None:
    (tmp_path / "gap").write_text("a cat\n\na dog\n")
    if any("other" in flag for flag in flags):
        tiny_bert(tmp_path / "other", seed=1)
    given = [flag.format(tmp=tmp_path) for flag in flags]
    arguments = ["--model", str(model.path), "--output", str(tmp_path / "set")]
    capsys.readouterr()  # what transformers says when it saves
    code = COMMAND.run([*arguments, *given], prog="generate")
    said = capsys.readouterr().err
    if told is None:  # words that the encoder does not know are words
        assert code == 0
        return
    assert code == 2
    assert said.startswith(f"error: {told.format(tmp=tmp_path)}")
    assert said.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_sentence_for_a_model_of_labels_gets_its_classes(
    label_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(label_model), "--output", str(tmp_path / "set")]
    assert COMMAND.run([*arguments, "--prompts", "a cat, asleep"], prog="generate") == 2
    said = capsys.readouterr().err
    assert "--prompts: the model takes a class and has no class 'a cat, asleep', only zero" in said


def test_a_model_whose_encoder_has_gone_says_which_and_how_to_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = text_model(tmp_path)
    model.encoder.rename(tmp_path / "moved")
    arguments = ["--model", str(model.path), "--output", str(tmp_path / "set"), "--prompts", "a"]
    capsys.readouterr()
    assert COMMAND.run(arguments, prog="generate") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: the text encoder {model.encoder} is needed")
    assert said.rstrip().endswith("name it with --text-encoder")
    assert COMMAND.run([*arguments, "--text-encoder", str(tmp_path / "moved")], prog="g") == 0


def test_a_sentence_keeps_its_commas_on_a_command_line_and_in_yaml(tmp_path: Path) -> None:
    def prompts(*argv: str) -> tuple[str, ...] | None:
        config = read_config(GenerateConfig, ["--model", "m", "--output", "o", *argv], "generate")
        return config.prompts

    assert prompts("--prompts", "a, b") == ("a, b",)
    assert prompts("--prompts", "a, b", "--prompts", 'the "c"') == ("a, b", 'the "c"')
    assert prompts("--prompts", '["a, b", "c"]') == ("a, b", "c")
    assert prompts("--prompts", "none") is None
    (tmp_path / "one.yaml").write_text("prompts: a, b\n")
    assert prompts("--config", str(tmp_path / "one.yaml")) == ("a, b",)
    (tmp_path / "two.yaml").write_text("prompts: ['a, b', c]\n")
    assert prompts("--config", str(tmp_path / "two.yaml")) == ("a, b", "c")


def test_verify_knows_prompts_and_their_hashes_and_encodes_them_again(
    model: TextModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set"
    table = generate(model.path, path, prompts=PROMPTS)
    again = ["--text-encoder", str(model.encoder)]
    assert VERIFY.run([str(path)], prog="verify") == 0
    capsys.readouterr()
    assert VERIFY.run([str(path), *again], prog="verify") == 0
    assert "every prompt was encoded again" in capsys.readouterr().out

    def faults(column: str, values: list[str], *argv: str) -> str:
        at = table.column_names.index(column)
        changed = table.set_column(at, column, pa.array(values, pa.string())).slice(0, 8)
        shard = write_shard(changed, path, "part-00000.parquet")
        manifest = read_json(path / "manifest.json")
        manifest["shards"][0] |= {"sha256": shard.sha256, "num_bytes": shard.num_bytes}
        del manifest[SEAL]
        write_json(path / "manifest.json", sealed(manifest))
        assert VERIFY.run([str(path), *argv], prog="verify") == 1
        return capsys.readouterr().out

    captions = table.column("caption").to_pylist()
    hashes = table.column("condition_sha256").to_pylist()
    assert "row 3: caption is not what the manifest's rule gives it" in faults(
        "caption", [*captions[:3], "a dog", *captions[4:]]
    )
    assert "row 2: condition_sha256 is no SHA-256" in faults(
        "condition_sha256", [*hashes[:2], hashes[2][:-1], *hashes[3:]]
    )
    assert "row 4: condition_sha256 differs from that of an equal caption" in faults(
        "condition_sha256", [*hashes[:4], "0" * 64, *hashes[5:]]
    )
    swapped = [{hashes[2]: hashes[3], hashes[3]: hashes[2]}.get(one, one) for one in hashes]
    assert "condition_sha256" not in faults("condition_sha256", swapped)
    told = faults("condition_sha256", swapped, *again)
    assert "row 2: condition_sha256 is not that of its caption" in told
    assert "row 0: condition" not in told
