"""Reasons of failures that Ray passes on, wrapped in exceptions of its own."""

from __future__ import annotations


def reason_of(failure: BaseException) -> str:
    """Innermost cause in one line: users look for what happened, not for where it was passed on."""
    failures = getattr(failure, "worker_failures", None)
    if failures:
        rank, first = next(iter(failures.items()))
        return f"worker {rank}: {reason_of(first)}"
    for name in ("cause", "__cause__", "controller_failure"):
        cause = getattr(failure, name, None)
        if isinstance(cause, BaseException):
            return reason_of(cause)
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    name = type(failure).__name__
    if not text:
        return name
    return text if text.startswith(name) else f"{name}: {text}"
