"""``module:function``: told from a path, imported; each failure is one line with a remedy."""

import hashlib

import pytest

from pipeline.errors import UserError
from pipeline.importable import error_line, import_function, is_importable, source_sha256


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "brought_nets.py").write_text("def build():\n    return 7\nvalue = 3\n")
    (tmp_path / "brought_needs.py").write_text("import brought_absent\n")
    (tmp_path / "brought_broken.py").write_text("1 / 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nets:build", True), ("my.deep.nets:build_2", True), ("runs/model", False),
        ("C:/models", False), ("nets", False), ("nets:", False), ("a:b:c", False), ("1a:b", False),
    ],
)  # fmt: skip
def test_a_function_is_told_from_a_path(text, expected):
    assert is_importable(text) == expected


def test_a_function_is_known_by_the_bytes_of_its_file(folder):
    function = import_function("brought_nets:build")
    assert function() == 7
    assert (
        source_sha256(function)
        == hashlib.sha256((folder / "brought_nets.py").read_bytes()).hexdigest()
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("brought_absent:build", "brought_absent of .* is not found; set PYTHONPATH"),
        ("brought_absent.nets:build", "brought_absent.nets of .* is not found; set PYTHONPATH"),
        ("brought_needs:build", "importing brought_needs .* raised ModuleNotFoundError: No module"),
        ("brought_broken:build", "raised ZeroDivisionError: division by zero"),
        ("brought_nets:train", "brought_nets has no function train"),
        ("brought_nets:value", "brought_nets has no function value"),
        ("brought_nets", "not written as module:function"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as raised:
        import_function(spec)
    assert "\n" not in str(raised.value)


def test_a_strangers_error_is_one_short_line():
    assert error_line(ValueError("\n  first\nsecond")) == "ValueError: first"
    assert error_line(KeyError()) == "KeyError"
    assert len(error_line(ValueError("x" * 1000))) == 200
