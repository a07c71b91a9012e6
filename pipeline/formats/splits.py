"""The names of a dataset's splits, and which of them a job reads by default."""

from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)  # the order in which they are listed


def judged_split(info: DatasetInfo, named: str | None = None, flag: str = "--split") -> str:
    """The split to judge on: the one named, else test, else validation.

    Args:
        info: the dataset.
        named: the split that a config names; None for the default.
        flag: the flag that names it, for messages.

    Raises:
        UserError: there is no such split, none to choose, or no picture in it.
    """
    filled = [split for split in info.splits if info.num_rows(split)]
    judged = [split for split in (TEST, VALIDATION) if split in info.splits]
    choice = named or next((split for split in judged if split in filled), next(iter(judged), None))
    if choice in filled:
        return choice
    if choice in info.splits:
        raise UserError(f"the split {choice} of {info.path} is empty; {_remedy(filled, flag)}")
    if named is None:
        missing = f"neither a split {TEST} nor {VALIDATION} with pictures to judge on"
    else:
        missing = f"no split {named!r}"
    raise UserError(f"{info.path} has {missing}, {_remedy(filled, flag)}")


def train_split(info: DatasetInfo, what: str) -> str:
    """The split to train on.

    Args:
        info: the dataset.
        what: the thing to train, for messages: "the stack".

    Raises:
        UserError: there is none, or no picture in it.
    """
    if not sum(shard.num_rows for shard in info.splits.get(TRAIN, ())):
        raise UserError(
            f"{info.path} has no pictures in a split {TRAIN}, only {', '.join(info.splits)}, and "
            f"{what} needs one; ingest with --splits-from draw to divide all rows"
        )
    return TRAIN


def _remedy(filled: list[str], flag: str) -> str:
    return f"only {', '.join(filled) or 'empty ones'}; name one of these with {flag}"
