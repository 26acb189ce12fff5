"""The one exception that means "the input is wrong", as opposed to "the program is wrong", and how lines are shown."""


class InputError(ValueError):
    """Bad input from the user: one line that names the file, utterance or key at fault.

    The command line prints the line and exits with status 2; nothing is left half-written.
    """


def visible(text: str) -> str:
    """`text` on one line, with what cannot be seen (line ends, control characters, marks of byte order) as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
