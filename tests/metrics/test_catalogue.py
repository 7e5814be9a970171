from __future__ import annotations

from refusion.metrics.catalogue import AUTHORS, ROWS


def test_each_row_has_a_name_of_its_own_a_source_and_the_default_definition() -> None:
    assert len({metric.name for metric in ROWS}) == len(ROWS) == len(AUTHORS)
    assert all(metric.title and metric.citation for metric in ROWS)
    assert all(list(metric.definitions) == ["authors"] for metric in ROWS)


def test_bounds_and_sides_are_sound() -> None:
    for name, definition in AUTHORS.items():
        assert definition.low < definition.high, name
        assert definition.smallest_side >= 1, name
