"""Layouts of public data sets as they are downloaded, and of folders with usual names: one row each.

A place is the end of a picture's path, in any case, without its suffix. In it `{split}`, `{side}` and `{name}` stand
for a split's, a source's and the pair's name; the same `{name}` twice is the same text; the rest is a regular
expression. Folders above do not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
"""Split that a folder's name means."""

_GROUPS = {
    "split": "|".join(sorted(SPLITS, key=len, reverse=True)),
    "name": r"[^/]+?",
    "number": r"\d+",
}


@dataclass(frozen=True)
class Layout:
    """A data set's way to name its pictures.

    Attributes:
        name: of the data set.
        task: that it is for; empty where the names do not say it.
        places: ends of paths.
        a, b: names of the sources, alternatives separated by `|`.
        names: regular expression that a pair's name must be.
        hint: regular expression that must be found in the path, of which the two folders above count.
        scene: regular expression of a name's part that tells the scene, where there is one.
        stack: sources are the first and the last of the pictures that `{number}` numbers.
    """

    name: str
    task: str
    places: tuple[str, ...]
    a: str = ""
    b: str = ""
    names: str = ""
    hint: str = ""
    scene: str = ""
    stack: bool = False

    @cached_property
    def patterns(self) -> list[re.Pattern[str]]:
        """Compiled places."""
        return [self._compiled(place) for place in self.places]

    def _compiled(self, place: str) -> re.Pattern[str]:
        groups = {**_GROUPS, "side": f"(?:{self.a}|{self.b})"}
        seen: set[str] = set()

        def group(match: re.Match[str]) -> str:
            name = match[1]
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>{groups[name]})"

        return re.compile(rf"(?:^|/){re.sub(r'{(split|side|name|number)}', group, place)}$", re.IGNORECASE)


_IR, _VIS = "infrared|thermal|lwir|tir|inf|ir", "visible|visual|rgb|vis|vi"
_ANYWHERE = ("{split}/{side}/{name}", "{side}/{split}/{name}", "{side}/{name}")
_FLAT = (r"{name}[-_. ]{side}", r"{side}[-_. ]{name}")

# All but the number of the slice, of three digits.
_PATIENT = r"\d+(?=\d{3}$)"


def _harvard(kind: str) -> Layout:
    place = rf"(?:{kind}[-_]MRI|MRI[-_]{kind})(?:/{{split}})?/{{side}}/{{name}}"
    return Layout(f"Harvard {kind}–MRI", "MIF", (place,), kind, "MRI|MR", scene=_PATIENT)


PUBLIC: tuple[Layout, ...] = (
    Layout("MSRS", "IVIF", ("{split}/{side}/{name}",), "ir", "vi|vis", names=r"\d{5}[DN]"),
    Layout("LLVIP", "IVIF", ("{side}/{split}/{name}",), "infrared", "visible", names=r"\d{6}", scene=r"\d\d"),
    Layout("LLVIP", "IVIF", ("{split}_LLVIP_{side}/{name}",), "ir", "vi", scene=r"\d\d"),
    Layout("RoadScene", "IVIF", ("{side}/{name}",), "cropinfrared", "crop_LR_visible"),
    Layout("M3FD", "IVIF", _ANYWHERE, "ir", "vis|vi", hint="m3fd"),
    Layout("VIFB", "IVIF", ("input/{side}/{name}",), "IR", "VI"),
    Layout("VIFB", "IVIF", ("{side}/{name}",), "IR", "VI", hint="vifb"),
    Layout("TNO", "IVIF", (r"[^/]*_images/{name}/{side}(?:[-_][^/]*)?",), "IR|LWIR|thermal", "VIS|visual"),
    Layout("TNO", "IVIF", (r"[^/]*_sequence/{side}/{name}[iv]",), "thermal", "visual"),
    Layout("TNO", "IVIF", ("{side}{name}",), "IR", "VIS|VI", names=r"[-_]?\d+"),
    Layout("TNO", "IVIF", (*_ANYWHERE, *_FLAT), _IR, _VIS, hint="tno"),
    _harvard("CT"),
    _harvard("PET"),
    _harvard("SPECT"),
    Layout("Lytro", "MFIF", ("lytro-{name}-{side}",), "A", "B", names=r"\d+"),
    Layout("Lytro", "MFIF", (*_ANYWHERE, r"{name}[-_]{side}"), "A|1|source_?[A1]", "B|2|source_?[B2]", hint="lytro"),
    Layout("MFI-WHU", "MFIF", _ANYWHERE, "source_1", "source_2"),
    Layout("MFI-WHU", "MFIF", (*_ANYWHERE, r"{name}[-_]{side}"), "A|1", "B|2", hint="mfi[-_]?whu"),
    Layout("Real-MFF", "MFIF", (r"{side}/{name}_[AB]", "{side}/{name}"), "imageA", "imageB"),
    Layout("Real-MFF", "MFIF", (r"{name}_{side}",), "A", "B", hint="real[-_]?mff"),
    Layout("MFFW", "MFIF", ("{name}/{name}_{side}", r"{name}[-_]{side}", *_ANYWHERE), "A", "B", hint="mffw"),
    Layout("MFIFB", "MFIF", ("{name}/{name}_{side}",), "A", "B", hint="mfifb"),
    Layout("MEFB", "MEIF", ("{name}/{name}_{side}", r"{name}_{side}"), "A", "B", hint="mefb"),
    Layout("SICE", "MEIF", ("{name}/{number}",), names=r"\d+", hint=r"sice|dataset_part\d", stack=True),
)  # fmt: skip
"""Public data sets, the more particular first."""

USUAL: tuple[Layout, ...] = (
    Layout("pictures named infrared and visible", "IVIF", (*_ANYWHERE, *_FLAT), _IR, _VIS),
    Layout("pictures named CT and MRI", "MIF", (*_ANYWHERE, *_FLAT), "CT", "MRI|MR"),
    Layout("pictures named PET and MRI", "MIF", (*_ANYWHERE, *_FLAT), "PET", "MRI|MR"),
    Layout("pictures named SPECT and MRI", "MIF", (*_ANYWHERE, *_FLAT), "SPECT", "MRI|MR"),
    Layout("pictures named near and far", "MFIF", (*_ANYWHERE, *_FLAT), "near|foreground|fg", "far|background|bg"),
    Layout(
        "pictures named under- and over-exposed", "MEIF", (*_ANYWHERE, *_FLAT),
        "under[-_]?exposed|under|ue|dark|low", "over[-_]?exposed|over|oe|bright|high",
    ),
    Layout("pictures named a and b", "", (*_ANYWHERE, "{name}/{name}_{side}", *_FLAT), "a", "b"),
    Layout("pictures named 1 and 2", "", (*_ANYWHERE, *_FLAT), "source_?1|1", "source_?2|2"),
)  # fmt: skip
"""Folders and names of people's own; the last two do not say for which task."""


def mapped(a: str, b: str, task: str) -> Layout:
    """Returns the layout that `--map a=…,b=…` describes: folders or parts of names of these words."""
    places = (*_ANYWHERE, *_FLAT, r"{name}{side}", r"{side}{name}")
    return Layout(f"--map a={a},b={b}", task, places, re.escape(a), re.escape(b))
