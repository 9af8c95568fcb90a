"""The Python of docs/targets.md, run: what is said there is what the tests use."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).resolve().parents[2] / "docs" / "targets.md"


@cache
def documented() -> ModuleType:
    """All code of the page as one module."""
    module = ModuleType("documented_targets")
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), module.__dict__)
    return module
