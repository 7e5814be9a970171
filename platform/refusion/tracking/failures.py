"""Failures of a tracking server, from what MLflow raises: the cause, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable

from mlflow.exceptions import MlflowException

from refusion.tracking.database import first_line

# As MLflow, urllib3 and requests spell an HTTP status.
_STATUS = re.compile(r"error code (\d{3}) !=|too many (\d{3}) error|(\d{3}) (?:Client|Server) Error")
_BY_CODE = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}

_UNSTARTED = ("it does not answer", "start it or give another --tracking-uri")
_BEHIND_A_PROXY = (
    "a proxy answers, but no MLflow server behind it",
    "start that server, or look into the proxy's own log",
)
_BY_STATUS = {
    401: (
        "it asks who you are",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    ),
    403: (
        "it does not allow this user, or this host name",
        "ask its owner for the right to write, or to add the name to its --allowed-hosts",
    ),
    404: ("there is no MLflow at this address", "check the path in --tracking-uri"),
    413: (
        "it, or a proxy in front of it, takes no request of this size",
        "raise that limit (client_max_body_size in nginx)",
    ),
    429: ("it takes no more requests at present", "try again later"),
    500: ("it fails itself", "its own log says why, most often its database is away or full"),
    502: _BEHIND_A_PROXY,
    503: _BEHIND_A_PROXY,
    504: _BEHIND_A_PROXY,
}
_LATER = (429, 500, 502, 503, 504)
_BY_TEXT = {
    "CERTIFICATE_VERIFY_FAILED": (
        "its certificate is not trusted here",
        "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of its authority",
    ),
    "ProxyError": ("the proxy on the way to it does not answer", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"),
    "NameResolutionError": ("there is no host of this name", "check --tracking-uri"),
    "not in a valid JSON format": ("what answers there is not MLflow", "check --tracking-uri"),
    "failed with exception": _UNSTARTED,
}


def cause_and_remedy(error: Exception) -> tuple[str, str]:
    """Returns why a tracking server has failed, with its HTTP status where it has one, and what to do about it."""
    text = str(error)
    status = _status_of(error, text)
    if status in _BY_STATUS:
        cause, remedy = _BY_STATUS[status]
        return f"{cause}, HTTP status {status}", remedy
    for mark, known in _BY_TEXT.items():
        if mark in text:
            return known
    return first_line(error), _UNSTARTED[1]


def is_away(error: Exception) -> bool:
    """Tells if a server that failed so does not answer, is overloaded or fails itself: it may answer later."""
    status = _status_of(error, str(error))
    return status in _LATER if status is not None else cause_and_remedy(error)[1] == _UNSTARTED[1]


def warn_of(what: str, reason: str | None, say: Callable[[str], None]) -> None:
    """Says that something could not be written to MLflow, and why; nothing where there is no reason."""
    if reason is not None:
        say(f"warning: {what} could not be written to MLflow ({reason})")


def _status_of(error: Exception, text: str) -> int | None:
    found = _STATUS.search(text)
    if found is not None:
        return int(next(group for group in found.groups() if group))
    return _BY_CODE.get(error.error_code) if isinstance(error, MlflowException) else None


def reason_of(error: Exception) -> str:
    """Returns the cause, and what to do where that is known, short enough for brackets."""
    cause, remedy = cause_and_remedy(error)
    return cause if remedy == _UNSTARTED[1] else f"{cause}; {remedy}"
