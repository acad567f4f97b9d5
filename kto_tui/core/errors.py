"""The one exception that speaks to the user."""

WRONG_REQUEST = 2  # The exit code that says so.


class UserError(ValueError):
    """The request was wrong: its message is one line that says what was found and what to do.

    The command ends with exit code 2 and prints the message without a traceback.
    """


def one_line(error: BaseException) -> str:
    """The error's class and message on a single line, for journals and tables."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    """The text with all that is no visible character escaped, so that it is harmless to a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
