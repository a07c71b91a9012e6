"""The shape of a source's pictures, from its first rows."""

from collections.abc import Iterator

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow, Source
from pipeline.sources.decode import Decoder

_LOOKED_AT = 32
_MOST_AT_ONCE = 1024


def shape_of(
    source: Source, decoder: Decoder, *, quarantine: bool
) -> tuple[tuple[int, int, int], str]:
    """Height, width and channels, and the origin of a picture that has them.

    Without quarantine it is the first row's shape. With quarantine it is the most frequent shape of
    the first 32 good rows, so that one odd picture in front does not make all others bad.

    Raises:
        UserError: the first row is bad, or with quarantine all rows are.
    """
    origins_of: dict[tuple[int, int, int], list[str]] = {}
    first_bad: BadRow | None = None
    num_good = 0
    for number, row in _rows(source):
        if isinstance(row, RawRow):
            try:
                height, width, channels = decoder.decode(row).shape
            except UserError as error:
                row = BadRow(row.id, number, row.origin, str(error))
        if isinstance(row, BadRow):
            if not quarantine:
                raise UserError(row.message)
            first_bad = first_bad or row
            continue
        origins_of.setdefault((height, width, channels), []).append(row.origin)
        num_good += 1
        if not quarantine or num_good == _LOOKED_AT:
            break
    if not origins_of:
        assert first_bad is not None
        raise UserError(
            f"none of the {source.num_rows} rows is good; the first of them: {first_bad.reason}"
        )
    shape = max(origins_of, key=lambda shape: len(origins_of[shape]))  # of equal ones, the first
    return shape, origins_of[shape][0]


def _rows(source: Source) -> Iterator[tuple[int, RawRow | BadRow]]:
    """All rows with their numbers; few are read if few are asked for."""
    start, count = 0, 1
    while start < source.num_rows:
        stop = min(start + count, source.num_rows)
        yield from enumerate(source.read(start, stop), start)
        start, count = stop, min(2 * count, _MOST_AT_ONCE)
