import errno
import sys
from importlib.machinery import ModuleSpec

import pytest
from example import ExampleConfig

from noisestack.command import Command
from pipeline.errors import UserError


def run(main, *argv):
    return Command(ExampleConfig, main, "an example").run(argv)


def raising(error):
    def main(config):
        raise error

    return main


def test_main_gets_the_config_and_success_is_0():
    seen = []
    assert run(seen.append, "--output", "o") == 0
    assert seen == [ExampleConfig(output="o")]


def test_a_whole_number_that_main_returns_is_the_exit_code():
    assert run(lambda config: 1, "--output", "o") == 1
    assert run(lambda config: config.output, "--output", "o") == 0


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UserError("no model at m; train one"), 2, "error: no model at m; train one\n"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; the same command takes up where this one stopped\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "o/part-0"),
            1,
            "error: no space is left on the disk for o/part-0; "
            "free some and run the same command again\n",
        ),
    ],
)
def test_what_goes_wrong_becomes_one_line_and_an_exit_code(capsys, error, exit_code, line):
    assert run(raising(error), "--output", "o") == exit_code
    assert capsys.readouterr().err == line


def test_a_mistake_in_the_flags_does_not_start_main(capsys):
    assert run(raising(AssertionError("started")), "--stpes", "3") == 2
    assert capsys.readouterr().err.startswith("error: unknown flag --stpes")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()), "--output", "o")


@pytest.mark.parametrize("name", ["jobs.compare", "jobs.ingest.__main__"])
def test_help_names_the_command_as_a_person_typed_it(monkeypatch, capsys, name):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec(name, None))
    with pytest.raises(SystemExit):
        run(raising(AssertionError("started")), "--help")
    assert f"usage: python -m {name.removesuffix('.__main__')} " in capsys.readouterr().out
