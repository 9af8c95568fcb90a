"""Refuses to start on a Faust that this lane was not written for."""

from __future__ import annotations

import importlib
from importlib.metadata import version

from agents.ending import EX_CONFIG, end_process

#: The lane overrides private seams of these three. Another version may have moved one without an error.
PINNED = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

#: Faust's pure-Python stream acknowledges messages that it skips after a rebalance, so a crash then loses
#: what is still in flight. The compiled one does not.
COMPILED = "faust._cython.streams"


def version_faults() -> list[str]:
    """One line for everything installed that differs from what is needed; empty when all is well."""
    faults = [
        f"{name} {version(name)} is installed, {wanted} is needed: pip install {name}=={wanted}"
        for name, wanted in PINNED.items()
        if version(name) != wanted
    ]
    try:
        importlib.import_module(COMPILED)
        from faust.streams import _CStreamIterator
    except ImportError:
        _CStreamIterator = None
    if _CStreamIterator is None:
        faults.append(
            f"{COMPILED} is missing or switched off by NO_CYTHON: install the faust-streaming wheel with "
            "compiled extensions and unset NO_CYTHON"
        )
    return faults


def require_pinned_versions() -> None:
    """End the process with code 78 when something installed is not what the lane was written for."""
    faults = version_faults()
    if faults:
        end_process(EX_CONFIG, "cannot start: " + "; ".join(faults))
