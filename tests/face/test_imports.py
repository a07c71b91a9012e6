"""`import noisestack` is light: torch comes with what computes, Ray with the first job."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from small_stack import small_stack

import noisestack as ns
from pipeline.stack import save_stack

SCRIPT = """
import sys
import noisestack as ns
heavy = {"torch", "ray", "pyarrow", "numpy", "sklearn", "scipy", "pydantic"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert set(ns.__all__) <= set(dir(ns))
assert "generate" in dir(ns.jobs)
assert not {"torch", "ray"} & set(sys.modules)
for name in ns.__all__:
    getattr(ns, name)
assert ns.load_stack(sys.argv[1]).sample("one").shape == (1, 8, 8, 1)
assert "torch" in sys.modules
assert "ray" not in sys.modules
"""


def test_importing_the_package_and_sampling_import_no_ray(tmp_path: Path) -> None:
    save_stack(small_stack(), {}, tmp_path / "model", {})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "model")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_name_of_the_face_is_there_and_says_what_it_is() -> None:
    for name in ns.__all__:
        value = getattr(ns, name)
        assert value.__doc__, name
        assert name in dir(ns)
    assert set(ns._HOMES) | {"jobs"} == set(ns.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ns.nothing  # noqa: B018


@pytest.mark.parametrize("package", ["pipeline", "jobs", "serve", "noisestack"])
def test_every_package_says_that_it_is_typed(package: str) -> None:
    (place,) = import_module(package).__path__
    assert (Path(place) / "py.typed").is_file()
