"""A path that is read on this machine; a cluster's nodes are not asked, as jobs must ask them."""

import os
from pathlib import Path

from noisestack.paths import refuse_address
from pipeline.errors import UserError


def local_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path that is meant, from the working directory; ``~`` is the home.

    Raises:
        UserError: it is an address, such as s3://bucket/x, or an unknown user's home.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"{path!r} is no path; give a text or a pathlib.Path")
    try:
        refuse_address(os.fspath(path))
        return Path(path).expanduser().absolute()
    except (ValueError, RuntimeError) as error:
        raise UserError(str(error)) from None
