"""What the library transformers says while it loads: warnings and bars, silenced."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Meanwhile transformers warns of nothing and draws no bars; what matters is checked by us."""
    import transformers

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
