import importlib
import subprocess
import sys

import pytest

from noisestack import __version__
from noisestack.__main__ import COMMANDS, main
from noisestack.command import Command
from noisestack.config import JobConfig


def test_help_lists_every_command_with_its_line(capsys):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in page
        assert summary in page
    assert max(map(len, page.splitlines())) <= 80
    assert main([]) == 0
    assert capsys.readouterr().out == page


def test_help_loads_neither_torch_nor_ray():
    script = (
        "import sys; from noisestack.__main__ import main; main(['--help']); "
        "sys.exit(bool({'torch', 'ray', 'pyarrow', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"noisestack {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["train-stak"]) == 2
    told = "error: unknown command 'train-stak'; the nearest is 'train-stack'\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_each_of_its_keys_means(name, capsys):
    command = importlib.import_module(COMMANDS[name][0]).COMMAND
    assert isinstance(command, Command)
    assert issubclass(command.config_class, JobConfig)
    assert command.config_class.__doc__
    for key, field in command.config_class.model_fields.items():
        assert field.description, f"{name}: {key} has no description"
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: noisestack {name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_unknown_key_in_one_line(name, capsys):
    assert main([name, "--overwriet"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: unknown flag --overwriet; the nearest is --")
    assert err.count("\n") == 1


def test_ctrl_c_while_a_command_is_imported_is_told_in_one_line(monkeypatch, capsys):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("noisestack.__main__.import_module", interrupt)
    assert main(["ingest"]) == 130
    assert capsys.readouterr().err.startswith("interrupted; ")
