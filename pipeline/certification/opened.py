"""The base that a config or a manifest names, opened: the same here as where the work began."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UserError
from pipeline.formats.certificate.set import CertificateSet
from pipeline.formats.dataset import DatasetInfo
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases import BASES
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.user_models.load import rows_to_tell


def open_base(
    kind: str,
    options: BaseOptions,
    sigma: float,
    device: str = "cpu",
    *,
    record: Mapping[str, Any] | None = None,
) -> SmoothingBase:
    """A base of this kind.

    Args:
        kind: its name in `BASES`.
        options: what it is opened from.
        sigma: of the certificate's noise, in units of [0, 1].
        record: the identity that it must have; None for any.

    Raises:
        UserError: there is no such kind, it cannot be opened, has fewer than two classes, or is
            another one here.
    """
    if kind not in BASES:
        raise UserError(f"there is no base {kind!r}, only {', '.join(BASES)}")
    base = BASES[kind].open(options, sigma, device)
    if len(base.classes) < 2:
        raise UserError(
            f"the classifier has {len(base.classes)} class: it always gives the same answer, and "
            "there is nothing to certify"
        )
    if record is not None and (other := _difference(record, identity_of(base))):
        raise UserError(f"this is not the base that was smoothed: {other}; give that one")
    return base


def open_same_base(
    opened: CertificateSet, info: DatasetInfo, *, device: str = "cpu", **given: Any
) -> SmoothingBase:
    """The base that a certificate set was made with.

    Args:
        info: the dataset whose pictures it is asked about.
        given: what a person gives of `BaseOptions`.

    Raises:
        UserError: this is another one.
    """
    rows = rows_to_tell(opened.base.get("classifier", {}), opened.base)
    options = BaseOptions(info, rows_per_call=rows, **given)
    return open_base(str(opened.base["base"]), options, opened.sigma, device, record=opened.base)


def identity_of(base: SmoothingBase) -> dict[str, Any]:
    """What decides a base's answers, as a manifest's ``base`` has it."""
    return {**base.record(), "classes": list(base.classes)}


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    for key in sorted({*wanted, *found} - {"classifier"}):  # where it came from decides nothing
        if wanted.get(key) != found.get(key):
            return f"{key} is {_short(found.get(key))} and not {_short(wanted.get(key))}"
    return ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
