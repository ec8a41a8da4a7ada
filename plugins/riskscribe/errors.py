"""The one exception a person caused: the command line prints it as one line and exits with code 2."""


class InputError(Exception):
    """Bad input: says what was wrong, where, and what would be right."""
