"""Settings that name something built in, or a class or function of the user's by its import path."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import AfterValidator

from refusion.import_path import is_import_path


@dataclass(frozen=True)
class OrImportPath:
    """Check of a setting that is one of ``builtin`` or an import path, written as ``form``; imports nothing."""

    form: str
    builtin: tuple[str, ...]

    def __call__(self, kind: str) -> str:
        """Returns the kind as it is.

        Raises:
            ValueError: it is neither.
        """
        if kind not in self.builtin and not is_import_path(kind):
            noun = self.form.rpartition(":")[2].lower()
            names = ", ".join(repr(name) for name in self.builtin)
            raise ValueError(f"must be {names}, or the import path of a {noun} as {self.form}")
        return kind


def or_import_path(form: str, *builtin: str) -> AfterValidator:
    """Validator of a setting that is ``builtin``, or names a class or function of the user's; imports nothing."""
    return AfterValidator(OrImportPath(form, builtin))
