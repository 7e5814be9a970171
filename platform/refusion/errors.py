"""Errors of the user and of the machine, as opposed to faults of the program."""

from __future__ import annotations


class UserError(Exception):
    """The request or the data is at fault: one sentence that names the file or the option and says what to do.

    Jobs print the message alone on stderr and exit with status 2.
    """


class DamagedCheckpointError(UserError):
    """A checkpoint cannot be gone on from, so that a training goes on from the one before it; one sentence."""


class StoreAwayError(UserError):
    """Raised where MLflow's store does not answer, but may do so later."""


class MachineError(Exception):
    """The machine does not give what a job needs, whose request is right: one sentence that says what to do.

    Jobs print the message alone on stderr and exit with status 1.
    """


class TrainingDivergedError(ArithmeticError):
    """Raised where a training's numbers are not finite any more, which more steps cannot mend; one sentence."""
