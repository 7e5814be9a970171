"""Settings of finding and reading sources, the same for every job."""

from __future__ import annotations

from dataclasses import dataclass, field

from refusion.config.arrangement import Arrangement
from refusion.config.ranges import DEFAULT_MEGAPIXELS, SourceRanges


@dataclass(frozen=True)
class Reading:
    """Settings of finding and reading sources.

    Attributes:
        ranges: rule of each source.
        megapixels: pixels that a picture may have, in millions.
        arrangement: what the user says of the data set's layout.
    """

    ranges: SourceRanges = field(default_factory=SourceRanges)
    megapixels: float = DEFAULT_MEGAPIXELS
    arrangement: Arrangement = field(default_factory=Arrangement)
