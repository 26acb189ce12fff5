"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class InputError(ValueError):
    """Bad input from the user: one line that names the file, utterance or key at fault.

    The command line prints the line and exits with status 2; nothing is left half-written.
    """
