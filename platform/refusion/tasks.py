"""The four fusion tasks: their two sources and the colour of their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refusion.errors import UserError

TaskName = Literal["IVIF", "MIF", "MFIF", "MEIF"]


@dataclass(frozen=True)
class Task:
    """One fusion task.

    The networks are trained with the order of ``a`` and ``b``. Colour follows one rule for all tasks (ReFusion's
    published inference): fusion works on luminance; if exactly one source has colour its chroma is kept, if both have,
    their chroma is averaged with weights by distance from neutral, and if neither has, the result is grey.

    Attributes:
        name, title: the abbreviation and its meaning.
        a, b: the modality expected in each place.
        colour: the usual case of that rule.
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
    """Returns the task of that name (any case).

    Raises:
        UserError: there is no such task.

    Example:
        >>> find_task("ivif").b
        'visible'
    """
    task = TASKS.get(name.upper())
    if task is None:
        raise UserError(f"there is no fusion task {name!r}: choose from {', '.join(TASKS)}")
    return task
