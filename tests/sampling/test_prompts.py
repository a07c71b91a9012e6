"""Prompts in turn, from a file and from a column; mistakes told with their line or row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.sampling.prompts import PromptsInTurn, open_prompts, prompts_in_turn


def test_prompts_come_in_turn_wherever_a_shard_begins_and_carry_no_label() -> None:
    plan = prompts_in_turn(["a cat, asleep", "two dogs"], "--prompts")
    assert plan.num_rows == 2
    rows = plan.rows(3, 6)
    assert rows.labels.tolist() == [-1, -1, -1]
    assert rows.captions is not None
    assert rows.captions.to_pylist() == ["two dogs", "a cat, asleep", "two dogs"]
    assert plan.texts(10**12 + 1, 10**12 + 2).to_pylist() == ["two dogs"]


def test_a_file_holds_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a b.prompts"
    file.write_bytes("\ufeffa cat\na “red” circle\u2028above\n".encode())
    plan = prompts_in_turn([str(file), "a dog"], "--prompts")
    assert plan.prompts == ("a cat", "a “red” circle\u2028above", "a dog")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "--prompts is empty"),
        (["a cat", " "], "--prompts: a prompt is empty"),
        (["prompts.txt"], "--prompts: there is no file prompts.txt"),
        (["./some/file"], "--prompts: there is no file ./some/file"),
        (["{tmp}/gap"], "line 2 of {tmp}/gap is empty; write a sentence, or remove the line"),
        (["{tmp}/bytes"], "{tmp}/bytes is not a text file in UTF-8"),
    ],
)
def test_prompts_that_are_none_are_told(tmp_path: Path, values: list[str], told: str) -> None:
    (tmp_path / "gap").write_text("a cat\n \na dog\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError) as caught:
        prompts_in_turn([value.format(tmp=tmp_path) for value in values], "--prompts")
    assert told.format(tmp=tmp_path) in str(caught.value)


def test_a_sentence_is_no_path_though_it_has_a_slash_or_is_longer_than_any() -> None:
    for sentence in ("a cat and/or a dog", "a cat " * 5000, "one\0two"):
        assert prompts_in_turn([sentence], "--prompts").prompts == (sentence,)


def test_a_column_gives_its_rows_in_order_and_reads_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {row}" for row in range(300)]
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"other": texts, "caption": texts}), file, row_group_size=10)
    plan = open_prompts(file, "caption")
    read: list[list[int]] = []
    whole = pq.ParquetFile.read_row_groups

    def watched(self: pq.ParquetFile, groups: list[int], columns: list[str]) -> pa.Table:
        read.append(groups)
        assert columns == ["caption"]
        return whole(self, groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    assert plan.texts(118, 121).to_pylist() == texts[118:121]
    assert list(plan.distinct_parts(20)) == [texts[:20]]
    assert read == [[11, 12], [0, 1]]
    assert plan.texts(299, 302).to_pylist() == [texts[299], texts[0], texts[1]]


def test_a_row_without_a_text_is_told_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    for bad, what in ((None, "there is no text"), ("  ", "the text is empty")):
        pq.write_table(pa.table({"caption": ["a", "b", bad, "d"]}), file)
        plan = open_prompts(file, "caption")
        assert plan.texts(0, 2).to_pylist() == ["a", "b"]  # a bad row costs only those who need it
        with pytest.raises(UserError, match=f"row 2 of {file}, column caption: {what}"):
            plan.rows(1, 4)


def test_a_column_of_numbers_or_of_another_name_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [1, 2]}), file)
    with pytest.raises(UserError, match=f"column label of {file} is int64, not text"):
        open_prompts(file, "label")
    with pytest.raises(UserError, match="caption"):
        open_prompts(file, "caption")
    with pytest.raises(UserError, match=r"--prompts-split test: .* is not a dataset"):
        open_prompts(file, "label", split="test")


def test_plans_of_the_same_origin_give_the_same_prompts(tmp_path: Path) -> None:
    assert PromptsInTurn(("a", "b")).origin() == {"prompts": ["a", "b"]}
    origins = []
    for texts in (["a", "b"], ["a", "c"], ["a", "b"]):
        pq.write_table(pa.table({"caption": texts}), tmp_path / "a.parquet")
        origins.append(open_prompts(tmp_path / "a.parquet", "caption").origin())
    assert origins[0] == origins[2] != origins[1]
