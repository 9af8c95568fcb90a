"""Bar charts as SVG: narrow enough for a phone, each bar with its name and number above it, so no colour is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

WIDTH: Final = 400
MARGIN: Final = 16
TITLE_HEIGHT: Final = 40
BAR_HEIGHT: Final = 14
#: A line of text with its bar and the space below.
ROW_HEIGHT: Final = 40
#: Dark blue and grey differ in lightness, too: for the colour-blind, and in print.
OURS, THEIRS, TEXT, PAPER = "#0b5394", "#a6a6a6", "#1a1a1a", "#ffffff"
FONT: Final = "font-family: system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


class Bar(NamedTuple):
    """One bar. shown: its number as text. ours: drawn in the darker colour."""

    name: str
    value: float
    shown: str
    ours: bool


class Panel(NamedTuple):
    """Bars under a title. full: the value of a bar as wide as the picture; the longest one's unless it is given."""

    title: str
    bars: Sequence[Bar]
    full: float | None = None


def chart(title: str, panels: Sequence[Panel]) -> str:
    """The picture, panels below each other. title: said by a screen reader, not drawn."""
    height = MARGIN + sum(TITLE_HEIGHT + ROW_HEIGHT * len(panel.bars) for panel in panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" style="{FONT}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
    ]
    top = MARGIN
    for panel in panels:
        lines += drawn(panel, top)
        top += TITLE_HEIGHT + ROW_HEIGHT * len(panel.bars)
    return "\n".join([*lines, "</svg>", ""])


def drawn(panel: Panel, top: int) -> Iterator[str]:
    """The elements of a panel that begins so far down."""
    right, full = WIDTH - MARGIN, panel.full or max(bar.value for bar in panel.bars)
    mixed = len({bar.ours for bar in panel.bars}) > 1
    yield text(MARGIN, top + 18, panel.title, 'font-size="15" font-weight="600"')
    for number, bar in enumerate(panel.bars):
        line = top + TITLE_HEIGHT + ROW_HEIGHT * number
        weight = ' font-weight="600"' if bar.ours and mixed else ""
        yield text(MARGIN, line + 8, bar.name, f'font-size="14"{weight}')
        yield text(right, line + 8, bar.shown, f'font-size="14" text-anchor="end"{weight}')
        width = round((right - MARGIN) * bar.value / full, 1)
        colour = OURS if bar.ours else THEIRS
        yield f'<rect x="{MARGIN}" y="{line + 14}" width="{width}" height="{BAR_HEIGHT}" fill="{colour}"/>'


def text(x: int, y: int, words: str, attributes: str) -> str:
    """One line of text on the baseline y."""
    return f'<text x="{x}" y="{y}" fill="{TEXT}" {attributes}>{escape(words)}</text>'
