"""The seal of a manifest: it outlives the way through JSON, and no edit."""

import json

import pytest

from pipeline.formats.seal import SEAL, seal_holds, sealed

MANIFEST = {"rows": 3, "share": 0.1 + 0.2, "shape": (8, 8, 1), "names": {"ü": None}, "ok": True}


def read_back(manifest: dict[str, object]) -> dict[str, object]:
    return dict(json.loads(json.dumps(manifest, indent=2, ensure_ascii=False)))


def test_what_was_sealed_holds_when_it_is_read_back() -> None:
    assert seal_holds(read_back(sealed(MANIFEST)))


@pytest.mark.parametrize(
    "change",
    [{"rows": 4}, {"share": 0.3}, {"shape": [8, 8, 3]}, {"more": 1}, {"ok": 1}, {SEAL: "0" * 64}],
)
def test_an_edit_breaks_it(change: dict[str, object]) -> None:
    assert not seal_holds({**read_back(sealed(MANIFEST)), **change})


def test_without_a_seal_none_holds() -> None:
    assert not seal_holds(MANIFEST)
