"""The one exception that is meant for the person at the terminal."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user can put right. Its message is one sentence that says what is wrong and what to do.

    The command line prints the message and exits with status 2; a library caller can catch it as a `ValueError`.
    """
