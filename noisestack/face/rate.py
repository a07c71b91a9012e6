"""A share of rows, and how sure it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """So many of so many rows; ``float(rate)`` is the share.

    Attributes:
        count: rows that were counted.
        rows: of these; at least 1.
    """

    count: int
    rows: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return self.count / self.rows

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share (Clopper and Pearson, 1934)."""
        from pipeline.intervals import clopper_pearson  # scipy takes a second to import

        return clopper_pearson(self.count, self.rows)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2%} of {self.rows:,} rows (95 % interval {low:.2%} to {high:.2%})"
