"""Resizes pictures, and counts what resizing changed in a whole source.

A picture of other proportions than the target loses a part (crop), gets a frame (pad), or is
distorted (stretch). All that is counted, since nobody sees it afterwards.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from PIL import Image, ImageOps

Fit = Literal["crop", "pad", "stretch"]
_MOST_NAMED = 6  # sizes that are counted one by one; photographs may have thousands

# Pillow's bicubic widens its kernel when it shrinks a picture, so nothing aliases.
_FILTER = Image.Resampling.BICUBIC


def resized(image: Image.Image, height: int, width: int, fit: Fit, fill: int) -> Image.Image:
    """Resizes a picture, grey or RGB, to height x width pixels.

    Args:
        fit: crop takes the largest centred part that has the target's proportions; pad keeps all of
            the picture, centred, and fills the rest with the level `fill`, 0 to 255; stretch keeps
            no proportions.
    """
    if fit == "stretch":
        return image.resize((width, height), _FILTER)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), _FILTER)
    scale = min(width / image.width, height / image.height)
    # (ImageOps.pad makes a side of no pixels where a picture is very long.)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    frame = Image.new(image.mode, (width, height), (fill,) * len(image.getbands()))
    frame.paste(image.resize(inner, _FILTER), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return frame


@dataclass
class FitCounts:
    """How many pictures of which sizes were resized, and how much was cut or filled.

    Attributes:
        sizes: number of rows by height and width before; empty once there are too many sizes.
        wider, taller: numbers of rows whose proportions differ from the target's.
        total, largest: sum and maximum over rows of the share that was changed. For crop it is the
            part of a picture that is cut, for pad the part of the target that is filled, and for
            stretch 1 - 1/r where circles become ellipses of axes 1 : r.
        smallest_size, largest_size: height and width of the pictures with fewest and most pixels.
    """

    num_rows: int = 0
    wider: int = 0
    taller: int = 0
    total: float = 0.0
    largest: float = 0.0
    sizes: dict[str, int] | None = field(default_factory=dict)
    smallest_size: tuple[int, int] | None = None
    largest_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, sizes: Iterable[tuple[int, int]], target: tuple[int, int]) -> Self:
        """The counts of pictures of these heights and widths, all brought to the target's."""
        counts = cls()
        for (height, width), num_rows in Counter(sizes).items():
            wide, tall = width * target[0], height * target[1]
            share = 1 - min(wide, tall) / max(wide, tall)
            counts.add(
                cls(
                    num_rows,
                    wider=num_rows * (wide > tall),
                    taller=num_rows * (tall > wide),
                    total=num_rows * share,
                    largest=share,
                    sizes={f"{height}x{width}": num_rows},
                    smallest_size=(height, width),
                    largest_size=(height, width),
                )
            )
        return counts

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        ends = {
            name: None if stored[name] is None else tuple(stored[name])
            for name in ("smallest_size", "largest_size")
        }
        return cls(**{**stored, **ends})

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return asdict(self)

    def add(self, other: "FitCounts") -> None:
        """Adds the counts of further rows; the sum depends on their order only by rounding."""
        if self.sizes is not None and other.sizes is not None:
            added = Counter(self.sizes) + Counter(other.sizes)
            self.sizes = dict(added) if len(added) <= _MOST_NAMED else None
        else:
            self.sizes = None
        self.num_rows += other.num_rows
        self.wider += other.wider
        self.taller += other.taller
        self.total += other.total
        self.largest = max(self.largest, other.largest)
        smallest = [size for size in (self.smallest_size, other.smallest_size) if size]
        largest = [size for size in (self.largest_size, other.largest_size) if size]
        self.smallest_size = min(smallest, key=_by_pixels, default=None)
        self.largest_size = max(largest, key=_by_pixels, default=None)

    def words(self, target: tuple[int, int], fit: Fit, fill: int) -> str:
        """The counts in one line for a person."""
        head = f"{self.num_rows:,} pictures {self._from()} to {_times(target)} (height x width)"
        if not self.wider and not self.taller:
            return f"{head}, their proportions kept"
        places = [
            f"{place}{f' of {count:,}' if count < self.num_rows else ''}"
            for place, count in self._places(fit)
            if count
        ]
        what = " and ".join(places)
        if fit == "stretch":
            most = 1 / (1 - self.largest)
            return f"{head}: {what}, up to {most:.2f} times (--fit crop or pad keeps circles round)"
        mean = self.total / (self.wider + self.taller)
        shares = f"{mean:.1%} of each".replace("%", " %")
        if self.largest - mean > 5e-4:
            shares = f"{mean:.1%} on average and {self.largest:.1%} at most".replace("%", " %")
        if fit == "crop":
            return f"{head}: {what} cropped, {shares} (--fit pad keeps all)"
        return f"{head}: {what} filled with level {fill}, {shares}"

    def _places(self, fit: Fit) -> list[tuple[str, int]]:
        match fit:
            case "crop":
                return [("the sides", self.wider), ("the top and bottom", self.taller)]
            case "pad":
                return [("the top and bottom", self.wider), ("the sides", self.taller)]
            case "stretch":
                return [("the height stretched", self.wider), ("the width stretched", self.taller)]

    def _from(self) -> str:
        assert self.smallest_size is not None
        assert self.largest_size is not None
        if self.sizes is None:
            smallest, largest = _times(self.smallest_size), _times(self.largest_size)
            return f"of many shapes from {smallest} up to {largest}"
        if len(self.sizes) == 1:
            return f"from {next(iter(self.sizes))}"
        often = sorted(self.sizes.items(), key=lambda entry: (-entry[1], entry[0]))
        named = ", ".join(f"{size}: {count:,}" for size, count in often)
        return f"of {len(self.sizes)} shapes ({named})"


def _by_pixels(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
