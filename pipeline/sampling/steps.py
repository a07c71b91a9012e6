"""One number of steps for the whole stack, shared among its stages."""

from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.sampling.cost import share_out


def shared_layers(total: int, own: Sequence[int]) -> tuple[int, ...]:
    """``total`` layers shared among the stages as the model's own are.

    Each stage has one at least and the last one two; as many as the model's own give those.

    Args:
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
