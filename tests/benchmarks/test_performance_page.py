"""docs/performance.md and its pictures show what benchmarks/results has."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import plot
from benchmarks.svg import Bar, Panel, chart


def test_the_page_shows_the_results() -> None:
    """`python -m benchmarks plot` would change nothing."""
    assert [path.name for path, content in plot.contents().items() if path.read_text() != content] == []


def test_a_page_without_the_place_is_refused() -> None:
    """A table has exactly one place, so that none is lost in silence."""
    page = "<!-- growth: python -m benchmarks plot -->\nold\n<!-- end of growth -->\n"
    assert "new \\1" in plot.filled(page, "growth", ["new \\1"])
    with pytest.raises(ValueError, match="0 places for throughput"):
        plot.filled(page, "throughput", [])


def test_bars_are_as_long_as_their_values() -> None:
    """Lengths are in proportion, to the longest bar or to what the panel gives, and names are escaped."""
    one, two = [Bar("a & b", 50, "50", ours=True), Bar("c", 200, "200", ours=False)], [Bar("d", 100, "100", ours=True)]
    picture = ElementTree.fromstring(chart("<A title>", [Panel("x", one), Panel("y", two, full=400)]))
    bars = [float(element.get("width", 0)) for element in picture if element.get("x") and element.tag.endswith("rect")]
    assert bars == [92, 368, 92]
    assert [element.text for element in picture if element.tag.endswith("text")][1] == "a & b"
