"""The configs that come along: listed, printed, copied, and found by `--config NAME`."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from example import ExampleConfig

from noisestack.__main__ import COMMANDS, main
from noisestack.flags import read_config
from noisestack.shipped import config_path, configs, shipped_files
from pipeline.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_every_config_of_the_repository_comes_along_and_says_what_it_is():
    assert set(configs()) == {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    for name, file in shipped_files().items():
        assert len(file.description) > 20, name
    for name in ("check_perturbations.py", "check_certificates.py"):
        assert shipped_files()[name].path.read_bytes() == (ROOT / "docs" / name).read_bytes()


@pytest.mark.parametrize("name", configs())
def test_every_config_is_one_of_a_command_and_read_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = set(yaml.safe_load(configs()[name].path.read_text(encoding="utf-8")))
    classes = [
        importlib.import_module(module).COMMAND.config_class for module, _ in COMMANDS.values()
    ]
    fitting = [config_class for config_class in classes if keys <= set(config_class.model_fields)]
    assert fitting
    config = read_config(fitting[0], ["--config", name], "noisestack")
    assert keys <= config.model_fields_set


def test_all_are_listed_with_their_line(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_files())
    assert any(line.endswith("one nested U-Net.") for line in lines)


def test_one_is_printed_and_copied_and_nothing_is_replaced(tmp_path, capsys):
    text = (ROOT / "configs" / "serve.yaml").read_text(encoding="utf-8")
    assert main(["configs", "serve"]) == 0
    assert capsys.readouterr().out == text
    assert main(["configs", "serve", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "serve.yaml").read_text(encoding="utf-8") == text
    assert main(["configs", "stack_digits", "--output", str(tmp_path / "serve.yaml")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "serve.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fashon_mnist"], "the nearest is 'fashion_mnist'"),
        (["--output", "x"], "give its name first"),
        (["serve", "--output", "a_file/x"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    assert main(["configs", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_persons_own_file_comes_first_and_a_forgotten_one_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path("serve") == configs()["serve"].path
    assert config_path("serve.yaml") == Path("serve.yaml")
    assert config_path("configs/serve") == Path("configs/serve")
    Path("fashion_mnist").mkdir()  # what a dataset's folder may be called
    assert config_path("fashion_mnist") == configs()["fashion_mnist"].path
    Path("serve").write_text("output: mine\n", encoding="utf-8")
    assert read_config(ExampleConfig, ["--config", "serve"], "").output == tmp_path / "mine"


def test_a_name_that_nothing_has_is_told_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"of those that come along the nearest is stack_digits"):
        read_config(ExampleConfig, ["--config", "stack_digit"], "")


@pytest.mark.parametrize("text", ["configs/own_pictures.yaml", "own_pictures.yaml"])
def test_a_config_that_is_only_in_the_clone_is_answered_with_its_name(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"; --config own_pictures is the one that comes along"):
        read_config(ExampleConfig, ["--config", text], "")


def test_a_pager_that_wants_no_more_is_no_fault():
    code = "import sys; from noisestack.__main__ import main; sys.exit(main(['configs']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == ""
    assert listing.returncode == 0
