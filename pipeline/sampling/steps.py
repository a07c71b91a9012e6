"""One number of steps for the whole stack, shared among its stages."""

from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.sampling.cost import share_out


def shared_layers(total: int, own: Sequence[int]) -> tuple[int, ...]:
    """Shares ``total`` layers among the stages in proportion to the model's own.

    Each stage gets at least one, and the last one two. The model's own total gives its own layers.

    Args:
        total: layers in all.
        own: the model's layers in each stage, coarsest first.

    Raises:
        UserError: fewer than the stages need.
    """
    if total < len(own) + 1:
        raise UserError(
            f"{total} steps: the model has {len(own)} stages, and needs {len(own) + 1} layers at "
            "least"
        )
    shares = share_out(total, own)
    return shares if shares[-1] >= 2 else (*share_out(total - 2, own[:-1]), 2)
