"""The library transformers at work: its warnings and bars silenced, and torch left as it was."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Meanwhile transformers warns of nothing and draws no bars; what matters is checked by us."""
    import torch
    import transformers

    # While transformers 5.24 builds a model, another function stands in for torch.linspace. torch
    # 2.13 lists the functions that heed torch.device at its first use, once: were that in a load,
    # torch.linspace would make tensors on the CPU ever after, whatever torch.device says.
    with torch.device("cpu"):
        torch.empty(0)
    library = transformers.utils.logging
    logger = logging.getLogger("transformers")
    level, bars = logger.level, library.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            library.enable_progress_bar()
