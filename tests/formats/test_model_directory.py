"""Model directories: identity by content, and every damage told in one line."""

import pickle
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.formats import model
from pipeline.formats.model import open_model, save_model
from pipeline.formats.output import read_json, sha256_of_file, write_json

CONFIG = {"shape": [8, 8, 1], "classes": ["0", "1"]}


def tensors(value: float = 0.0) -> dict[str, torch.Tensor]:
    whole = torch.arange(12.0).reshape(3, 4) + value
    return {"weight": whole.T, "row": whole[1], "count": torch.tensor(3), "half": whole.bfloat16()}


def save(path: Path, value: float = 0.0, **card: object) -> str:
    weights = {"stage-0": tensors(value), "stage-0.ema": tensors(value + 1)}
    return save_model(path, kind="stack", config=CONFIG, weights=weights, card=card)


def test_a_saved_model_is_opened_with_the_same_tensors(tmp_path: Path) -> None:
    sha256 = save(tmp_path / "m", loss=0.5)
    opened = open_model(tmp_path / "m", "stack")
    assert opened.sha256 == sha256
    assert opened.config == CONFIG
    assert opened.card["loss"] == 0.5
    assert opened.names == ("stage-0", "stage-0.ema")
    loaded = opened.weights("stage-0")
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_the_content_hash_follows_weights_and_config_but_not_the_cards_text(tmp_path: Path) -> None:
    one = save(tmp_path / "one", note="first")
    assert save(tmp_path / "two", note="second") == one
    assert save(tmp_path / "three", value=1.0) != one
    weights = {"stage-0": tensors(), "stage-0.ema": tensors(1)}
    other = save_model(
        tmp_path / "four", kind="stack", config={**CONFIG, "x": 1}, weights=weights, card={}
    )
    assert other != one


def test_saving_again_replaces_the_model_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    save(tmp_path / "m")
    second = save(tmp_path / "m", value=2.0)
    assert open_model(tmp_path / "m", "stack").sha256 == second
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_an_interrupted_save_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save(tmp_path / "m")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path / "m", value=2.0)
    assert open_model(tmp_path / "m", "stack").sha256 == first
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_a_directory_that_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a model"):
        save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_missing_model_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model directory"):
        open_model(tmp_path / "m", "stack")


@pytest.mark.parametrize("missing", ["config.json", "card.json", "stage-0.safetensors"])
def test_a_model_that_is_half_there_names_what_is_missing(tmp_path: Path, missing: str) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / missing).unlink()
    with pytest.raises(UserError, match=f"half there.*{missing}"):
        open_model(tmp_path / "m", "stack")


@pytest.mark.parametrize("changed", ["config.json", "stage-0.safetensors"])
def test_one_changed_byte_is_found_and_its_file_named(tmp_path: Path, changed: str) -> None:
    save(tmp_path / "m")
    content = bytearray((tmp_path / "m" / changed).read_bytes())
    content[-2] ^= 1
    (tmp_path / "m" / changed).write_bytes(content)
    with pytest.raises(UserError, match=f"{changed} has another hash"):
        open_model(tmp_path / "m", "stack")


def test_a_card_whose_hashes_were_edited_along_is_found(tmp_path: Path) -> None:
    save(tmp_path / "m")
    write_json(tmp_path / "m" / "config.json", {"format": 1, "kind": "stack", "x": 1})
    card = read_json(tmp_path / "m" / "card.json")
    card["files"]["config.json"] = sha256_of_file(tmp_path / "m" / "config.json")
    write_json(tmp_path / "m" / "card.json", card)
    with pytest.raises(UserError, match="changed by hand"):
        open_model(tmp_path / "m", "stack")


@pytest.mark.parametrize("files", [None, [], {"../secret": "0"}, {"config.json": 1}])
def test_a_card_with_nonsense_in_its_list_of_files_is_refused(
    tmp_path: Path, files: object
) -> None:
    save(tmp_path / "m")
    write_json(tmp_path / "m" / "card.json", {"files": files, "content_sha256": "0"})
    with pytest.raises(UserError, match="does not list"):
        open_model(tmp_path / "m", "stack")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "m")
    with pytest.raises(UserError, match="holds a stack, not a classifier"):
        open_model(tmp_path / "m", "classifier")


def test_an_unknown_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_FORMAT", 2)
    save(tmp_path / "m")
    monkeypatch.undo()
    with pytest.raises(UserError, match="unknown format"):
        open_model(tmp_path / "m", "stack")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".bin", ".ckpt", ".PT"])
def test_a_pickle_in_the_place_of_a_model_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="pickles are refused"):
        open_model(file, "stack")
    with pytest.raises(UserError, match="pickles are refused"):
        open_model(tmp_path, "stack")


@pytest.mark.parametrize("protocol", [2, 4, 5, None])
def test_a_pickle_named_safetensors_is_called_a_pickle(tmp_path: Path, protocol: int) -> None:
    save(tmp_path / "m")
    file = tmp_path / "m" / "stage-0.safetensors"
    if protocol is None:
        torch.save({"a": torch.zeros(3)}, file)
    else:
        file.write_bytes(pickle.dumps({"a": 1}, protocol))
    with pytest.raises(UserError, match=r"stage-0\.safetensors is a pickle"):
        open_model(tmp_path / "m", "stack")


def test_unknown_weights_are_a_user_error_that_names_those_there_are(tmp_path: Path) -> None:
    save(tmp_path / "m")
    with pytest.raises(UserError, match=r"'stage-9', only stage-0, stage-0\.ema"):
        open_model(tmp_path / "m", "stack").weights("stage-9")


@pytest.mark.parametrize("name", ["../escape", "", ".hidden", "a/b"])
def test_names_that_would_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        save_model(tmp_path / "m", kind="stack", config={}, weights={name: tensors()}, card={})
    assert list(tmp_path.iterdir()) == []
