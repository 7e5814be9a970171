"""Settings that name something built in, or a class or function of the user's by its import path."""

from __future__ import annotations

from pydantic import AfterValidator

from refusion.import_path import is_import_path


def or_import_path(form: str, *builtin: str) -> AfterValidator:
    """Validator of a setting that is ``builtin``, or names a class or function of the user's; imports nothing."""

    def validate(kind: str) -> str:
        if kind not in builtin and not is_import_path(kind):
            noun = form.rpartition(":")[2].lower()
            names = ", ".join(repr(name) for name in builtin)
            raise ValueError(f"must be {names}, or the import path of a {noun} as {form}")
        return kind

    return AfterValidator(validate)
