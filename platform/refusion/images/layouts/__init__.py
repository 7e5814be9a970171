"""Data sets as they are downloaded, and folders of people's own: which pictures are a and b of which split.

``table`` has a row for each layout, ``recognition`` finds the rows that a folder's names fit, ``division`` makes splits
that keep scenes apart, and ``arranged`` joins them for the pair check.
"""

from refusion.images.layouts.arranged import ALL, Arranged, arrange, known_layouts, splits_of, tasks_recognised

__all__ = ["ALL", "Arranged", "arrange", "known_layouts", "splits_of", "tasks_recognised"]
