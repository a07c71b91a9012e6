"""The one perturbation of a universal set: made before the shards, which all rest on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.common.pools import Pool
from jobs.common.records import Record, finished_record, remove_records
from pipeline.attacks.methods.universal import UniversalAttack
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.perturbation.universal import DELTA_FILE

_SPEC = {"index": 0, "file": DELTA_FILE, "num_rows": 1}
_TOLD = (
    "sample_rows", "sample_sha256", "sample_usable", "sample_fooled", "restart", "forwards",
    "backwards",
)  # fmt: skip


def check_sample_split(info: DatasetInfo, settings: UniversalAttack) -> None:
    """Raises UserError where there is no split, or an empty one, to draw the sample from."""
    split = settings.sample_split
    if not sum(shard.num_rows for shard in info.splits.get(split, ())):
        raise UserError(
            f"{info.path} has no split {split!r} with pictures to make the perturbation from, only "
            f"{', '.join(info.splits)}; name one of these with --sample-split"
        )


def make_universal_delta(
    run: Callable[..., Any], pool: Pool, settings: UniversalAttack, directory: Path
) -> tuple[UniversalAttack, Record]:
    """Makes the perturbation, or finds it as an earlier run left it.

    Where it is not there whole, shards of an earlier run were made with one that is lost, which
    another machine may not make again bit for bit: they are made anew as well.

    Args:
        run: `run_shards`.
        pool: of `UniversalMaker`.

    Returns:
        The attack with the perturbation's hash, and the record of its making.
    """
    if finished_record(directory, _SPEC) is None:
        remove_records(directory)
    made = run(pool, [_SPEC], directory, describe="perturb, universal", unit="perturbations")[0]
    return settings.made(str(made["sha256"])), made


def universal_report(made: Record | None, counts: dict[str, int]) -> dict[str, Any]:
    """What a manifest says of the making, under ``universal``; nothing where there was none.

    fooling_rate: the share of the rightly answered pictures that the perturbation breaks; None
    where there are none.
    """
    if made is None:
        return {}
    right = counts["clean_right"]
    rate = counts["successes"] / right if right else None
    told = {name: made[name] for name in _TOLD}
    return {"universal": {"file": DELTA_FILE, "fooling_rate": rate, **told}}


def universal_line(manifest: dict[str, Any]) -> str:
    """The fooling rate in words."""
    told, counts = manifest["universal"], manifest["counts"]
    seen = manifest["attack"]["sample_split"]
    share = f"{told['fooling_rate']:.2%}" if told["fooling_rate"] is not None else "none"
    return (
        f"one perturbation fools {share} of {counts['clean_right']:,} rightly answered pictures, "
        f"and {told['sample_fooled'] / told['sample_usable']:.2%} of the {told['sample_usable']:,} "
        f"of {seen} that it was made from, in {told['backwards']:,} gradients"
    )
