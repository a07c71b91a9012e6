"""A person's own folders called like our packages, above all `jobs`."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from noisestack import own_packages
from noisestack.__main__ import main


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a package `jobs`, a bare folder `serve` and a module `pipeline`."""
    for name in ("jobs", "serve"):
        (tmp_path / name).mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise RuntimeError('not ours')")
    (tmp_path / "pipeline.py").write_text("raise RuntimeError('not ours')")
    return tmp_path


def test_a_command_finds_its_own_packages_before_those_of_pythonpath(own: Path) -> None:
    script = (
        "import noisestack.__main__, jobs.verify, serve.settings; "
        "raise SystemExit(noisestack.__main__.main(['verify', 'nowhere']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=own,
        env={**os.environ, "PYTHONPATH": str(own)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == f"error: there is no directory {own}/nowhere; check the path\n"
    assert done.returncode == 2


def test_what_would_hide_our_packages_from_rays_workers_is_known(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(own_packages.ROOT)
    assert own_packages.hiding() == []
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'none'}{os.pathsep}{own}")
    found = [own / "jobs", own / "pipeline.py", own / "serve"]
    assert own_packages.hiding() == found
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.chdir(own)
    assert own_packages.hiding() == found


def test_a_package_of_that_name_that_was_imported_before_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = types.ModuleType("jobs")
    theirs.__file__ = str(tmp_path / "jobs.py")
    for name in [name for name in sys.modules if name.partition(".")[0] == "jobs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jobs", theirs)
    assert main(["generate"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: Python takes {tmp_path}/jobs.py for Noisestack's own package")
    assert "rename it, or take its folder off PYTHONPATH" in told
