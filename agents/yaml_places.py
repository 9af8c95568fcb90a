"""Where in a YAML file something is said."""

from __future__ import annotations

import yaml


def line_of(text: str, place: str) -> int | None:
    """The line (from 1) at which a place of the file is said, or the last part of it that is there; None for no place.

    place: keys, and numbers of a list, with dots between; a key may have dots in it. text: YAML that can be read.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line: int | None = None
    while place and node is not None:
        inner = _inside(node, place)
        if inner is None:
            break
        line, node, place = inner
    return line


def _inside(node: yaml.Node, place: str) -> tuple[int, yaml.Node, str] | None:
    """Line, value and rest of a place for the longest key of a node that the place begins with."""
    if isinstance(node, yaml.MappingNode):
        entries = [(str(key.value), key.start_mark.line, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(str(number), value.start_mark.line, value) for number, value in enumerate(node.value)]
    else:
        return None
    found = [entry for entry in entries if place == entry[0] or place.startswith(f"{entry[0]}.")]
    if not found:
        return None
    key, line, value = max(found, key=lambda entry: len(entry[0]))
    return line + 1, value, place[len(key) + 1 :]
