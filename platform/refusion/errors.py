"""Errors of the user, as opposed to faults of the program."""

from __future__ import annotations


class UserError(Exception):
    """The request or the data is at fault: one sentence that names the file or the option and says what to do.

    Jobs print the message alone on stderr and exit with status 2.
    """


class TrainingDivergedError(ArithmeticError):
    """Raised where a training's numbers are not finite any more, which more steps cannot mend; one sentence."""
