"""Errors of an object store in one sentence: what is wrong with the request, or that the store does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from refusion.errors import MachineError, UserError

_CODE = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))?(?: during (\w+) operation)?:? ?(.*)", re.DOTALL)
_KEY = re.compile(r"key '([^']*)'")
_NO_BUCKET = {"NO_SUCH_BUCKET"}
_NO_RIGHT = {
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH", "EXPIRED_TOKEN",
    "UNRECOGNIZED_CLIENT", "MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE",
}  # fmt: skip
_AWAY = {
    "NETWORK_CONNECTION", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "INTERNAL_FAILURE", "REQUEST_TIMEOUT", "THROTTLING",
}  # fmt: skip
_MOVED, _SERVERS_FAULT = ("301", "307", "400"), "5"


class StoreRefusedError(UserError, OSError):
    """There is no such bucket, or nobody with these credentials may use it."""


class StoreAwayError(MachineError, OSError):
    """The store does not answer, or only with errors of its own, though it was asked for long enough."""


@contextmanager
def in_words(bucket: str) -> Iterator[None]:
    """Gives the errors of a block that works on ``bucket`` their sentences; others pass as they are.

    Raises:
        StoreRefusedError, StoreAwayError: also OSErrors, which code knows that reads and writes files.
    """
    try:
        yield
    except (StoreRefusedError, StoreAwayError):
        raise
    except OSError as error:
        told = told_of(str(error), bucket)
        if told is None:
            raise
        raise told from error


def told_of(text: str, bucket: str) -> StoreRefusedError | StoreAwayError | None:
    """Returns the error of a store's message; None where it is about something else.

    >>> print(told_of("When reading key 'x': AWS Error NO_SUCH_BUCKET during GetObject operation: no", "ours"))
    s3://ours: there is no bucket of this name; check it, and AWS_ENDPOINT_URL where the store is not Amazon's
    """
    found = _CODE.search(text)
    if found is None:
        return None
    code, status, operation, reason = found[1], found[2] or "", found[3] or "request", found[4]
    key = _KEY.search(text)
    place = f"s3://{bucket}/{key[1]}" if key and key[1] else f"s3://{bucket}"
    if code in _NO_BUCKET:
        return StoreRefusedError(
            f"s3://{bucket}: there is no bucket of this name; check it, and AWS_ENDPOINT_URL where the store is not "
            "Amazon's"
        )
    if code in _NO_RIGHT or status in ("401", "403"):
        return StoreRefusedError(
            f"{place}: may not be used with the credentials that are set, or none is set ({code} at {operation}); set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role, on every node"
        )
    if status in _MOVED:
        return StoreRefusedError(
            f"{place}: is not answered there (HTTP status {status}); set AWS_REGION to the bucket's region"
        )
    if code in _AWAY or status.startswith(_SERVERS_FAULT):
        short = " ".join(reason.partition("; Details")[0].partition("(Request ID")[0].split())
        return StoreAwayError(
            f"{place}: the store does not answer, after all retries ({code} at {operation}{', ' * bool(short)}{short});"
            " when it does again, call the same command, or go on by --resume"
        )
    return None
