"""Home of the two roots of all errors that the project raises on purpose."""


class LyceumError(Exception):
    """Anything that went wrong and has a message for a person; never raised itself."""


class InvalidInput(LyceumError):
    """What a peer, a user or a file sent is wrong; the message carries the values and says what to do."""
