"""The script that compares the digests of a small suite with another commit's; see digests.py."""

import json
import shutil

import digests
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file


@pytest.fixture
def result(tmp_path):
    """What a command might leave: a table, weights, a manifest, a log."""
    folder = tmp_path / "first" / "made"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a", "b"], "image": [b"\0\1", b"\2\3"]}), folder / "0.parquet")
    save_file({"w": np.arange(4, dtype=np.float32)}, folder / "weights.safetensors")
    manifest = {
        "sha256": "00ff",
        "path": f"{tmp_path / 'first'}/made",
        "versions": {"torch": "2"},
        "seconds": 1.5,
        "attack": {"eps": 8, "wall_seconds": 2.0},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "metrics.jsonl").write_text('{"loss": 0.5, "pictures_per_second": 3}\n')
    return folder


def of(folder):
    return digests.digests_of(folder, folder.parent)


def copied(folder, tmp_path):
    shutil.copytree(folder.parent, tmp_path / "second")
    manifest = tmp_path / "second" / "made" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("/first", "/second"))
    return tmp_path / "second" / "made"


def test_digests_are_of_columns_tensors_and_keys_and_not_of_times_versions_or_places(
    result, tmp_path
):
    other = copied(result, tmp_path)
    text = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(text.replace("1.5", "9").replace('"2"', '"3"'))
    assert of(result) == of(other)
    assert {name.partition("/")[2] for name in of(result)} == {
        "0.parquet:id",
        "0.parquet:image",
        "weights.safetensors:w",
        "manifest.json:sha256",
        "manifest.json:path",
        "manifest.json:attack.eps",
        "metrics.jsonl:1.loss",
    }


def test_one_level_of_one_picture_is_named_and_fails(result, tmp_path, capsys):
    other = copied(result, tmp_path)
    pq.write_table(pa.table({"id": ["a", "b"], "image": [b"\0\1", b"\2\4"]}), other / "0.parquet")
    assert digests.compare(of(result), of(other)) == 1
    changed, counts = capsys.readouterr().out.splitlines()
    assert changed.startswith("changed  made/0.parquet:image ")
    assert counts == "6 equal, 1 changed, 0 gone, 0 gained"


def test_what_is_gone_fails_and_what_is_gained_does_not(capsys):
    assert digests.compare({"a": "1"}, {"a": "1", "b": "2"}) == 0
    assert digests.compare({"a": "1", "b": "2"}, {"a": "1"}) == 1
    assert "gone     b" in capsys.readouterr().out


def test_a_part_of_the_suite_brings_what_it_needs():
    chosen = [name for name, _ in digests.chosen_commands(["perturbed_transfer"])]
    assert chosen == [
        "dataset",
        "classifier",
        "classifier_robust",
        "perturbed_pgd",
        "perturbed_transfer",
    ]
    assert digests.chosen_commands([]) == list(digests.commands())
