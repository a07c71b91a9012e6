"""The bearer key: reads it and returns its digest, the only form that the servers get."""

import hashlib
import os
from pathlib import Path

from pipeline.errors import UserError

KEY_VARIABLE = "NOISESTACK_API_KEY"


def key_digest(key: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(key.encode()).digest()


def read_key(file: Path | None) -> bytes | None:
    """The digest of the key in a file, else of that in the environment, else None for no key.

    Raises:
        UserError: the file cannot be read, or the key is empty.
    """
    if file is not None:
        origin = str(file)
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UserError(f"cannot read the key in {origin}: {reason}") from None
    elif KEY_VARIABLE in os.environ:
        origin, key = KEY_VARIABLE, os.environ[KEY_VARIABLE].strip()
    else:
        return None
    if not key:
        raise UserError(f"the key in {origin} is empty; write one there, or unset it for no key")
    return key_digest(key)
