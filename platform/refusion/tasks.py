"""The four fusion tasks: what the two sources are and what becomes of their colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refusion.errors import UserError

TaskName = Literal["IVIF", "MIF", "MFIF", "MEIF"]


@dataclass(frozen=True)
class Task:
    """One fusion task.

    ``a`` and ``b`` say which picture is expected in which place: the networks are trained with that order. Colour
    follows one rule for all tasks (ReFusion's published inference): fusion works on luminance; if exactly one source
    has colour its chroma is kept, if both have, their chroma is averaged with weights by distance from neutral, and
    if neither has, the result is grey. ``colour`` says which of these cases is the usual one.
    """

    name: TaskName
    title: str
    a: str
    b: str
    colour: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("IVIF", "infrared–visible", "infrared", "visible", "chroma of the visible image"),
        Task("MIF", "medical", "CT, PET or SPECT", "MRI", "chroma of the functional image (PET, SPECT), else grey"),
        Task("MFIF", "multi-focus", "focus on near", "focus on far", "mean of both chromas"),
        Task("MEIF", "multi-exposure", "under-exposed", "over-exposed", "mean of both chromas"),
    )
}


def find_task(name: str) -> Task:
    """The task of that name (any case).

    Raises:
        UserError: there is no such task.
    """
    task = TASKS.get(name.upper())
    if task is None:
        raise UserError(f"there is no fusion task {name!r}: choose from {', '.join(TASKS)}")
    return task
