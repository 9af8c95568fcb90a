"""Reads syncline.yaml, the file that SYNCLINE_CONFIG names: policy, targets, settings of workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agents.user_functions import functions_beside
from schemas.policy_document import PolicyError, SourceDocument, read_document
from schemas.target_document import TargetDocument
from streams.policy import Policy, parse_policy


def read_config(path: str | None) -> Any:
    """What the file says, {} for None; unchecked. Raises PolicyError: no such file, or no YAML."""
    if path is None:
        return {}
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"policy file {path}: {error.strerror}; SYNCLINE_CONFIG must name a file to read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} is not YAML: {' '.join(str(error).split())}") from None


def worker_section(path: str | None) -> dict[str, Any]:
    """The file's settings of workers by name; unchecked but for being a mapping. Raises PolicyError."""
    document = read_config(path)
    section = document.get("worker") if isinstance(document, dict) else None
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise PolicyError(f"{path}: worker: it must be a mapping of settings, for example kafka: host:port")
    return section


def policy_of(document: object, path: str | None = None) -> Policy:
    """The policy of a mapping, whoever said it; path: of its file, where functions stand. Raises PolicyError."""
    return parse_policy(document, functions_beside(path))


def load_policy(path: str | None) -> Policy:
    """The policy of a file, the policy of defaults for None. Raises PolicyError: what is wrong, and where."""
    document = read_config(path)
    try:
        return policy_of(document, path)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def load_sources(path: str | None) -> Mapping[str, SourceDocument]:
    """The file's section `sources` by name, {} for None. Raises PolicyError: what is wrong, and where."""
    try:
        return read_document(read_config(path)).sources or {}
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def load_targets(path: str | None) -> Mapping[str, TargetDocument]:
    """The file's section `targets` by name, {} for None. Raises PolicyError: what is wrong, and where."""
    try:
        return read_document(read_config(path)).targets
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None
