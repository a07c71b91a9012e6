"""The one exception that tells a person what they did wrong, and what to do about it."""


class UserError(Exception):
    """A mistake of the user's: shown as one line, without a traceback, with exit code 2.

    The message is one line of the form "what is wrong, and where; what to do".
    """

    def __init__(self, message: str) -> None:
        # Texts of other libraries end up in messages; their line breaks must not.
        super().__init__(" ".join(message.split()))
