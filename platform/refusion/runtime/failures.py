"""Reasons of failures that Ray passes on, wrapped in exceptions of its own, and which of them a restart cannot mend."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from refusion.errors import MachineError, TrainingDivergedError, UserError

# Faults of data, settings and code, and numbers that have diverged: the same steps end in them again.
_LASTING = (
    UserError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)
# A disk that is full or may not be written to is so a moment later.
_LASTING_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


def lasting_failure(worker_exceptions: Mapping[int, BaseException]) -> BaseException | None:
    """Returns the exception of the first worker that a restart cannot mend; None where all may be worth another try.

    Args:
        worker_exceptions: by rank. One worker's exception often entails others', which are about its silence alone.
    """
    found = (error for _, error in sorted(worker_exceptions.items()) if _is_lasting(error))
    return next(found, None)


def _is_lasting(error: BaseException) -> bool:
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return is_fault_of_disk(error)
    return isinstance(error, _LASTING)


def is_fault_of_disk(error: BaseException | None) -> bool:
    """Returns True for an error that whatever is written there would meet: no space, no right to write."""
    return isinstance(error, OSError) and error.errno in _LASTING_OF_DISKS


def cause_of(failure: BaseException) -> BaseException:
    """Returns what an exception of a worker, a trial or a controller passes on, which is itself where it is nothing."""
    if isinstance(failure, UserError | MachineError | TrainingDivergedError):
        return failure
    for name in ("cause", "__cause__", "controller_failure"):
        cause = getattr(failure, name, None)
        if isinstance(cause, BaseException):
            return cause_of(cause)
    return failure


def reason_of(failure: BaseException) -> str:
    """Innermost cause in one line: users look for what happened, not for where it was passed on."""
    failures = getattr(failure, "worker_failures", None)
    if failures:
        rank, first = next(iter(failures.items()))
        return f"worker {rank}: {reason_of(first)}"
    cause = cause_of(failure)
    if cause is not failure:
        return reason_of(cause)
    if isinstance(failure, UserError | MachineError | TrainingDivergedError):
        return str(failure)
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    name = type(failure).__name__
    if not text:
        return name
    return text if text.startswith(name) else f"{name}: {text}"
