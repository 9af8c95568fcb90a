"""Reads the policy file that SYNCLINE_CONFIG names."""

from __future__ import annotations

from pathlib import Path

import yaml

from streams.policy import Policy, PolicyError, parse_policy


def load_policy(path: str | None) -> Policy:
    """The policy of a file, the policy of defaults for None. Raises PolicyError: what is wrong, and where."""
    if path is None:
        return parse_policy({})
    try:
        return parse_policy(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise PolicyError(f"policy file {path}: {error.strerror}; SYNCLINE_CONFIG must name a file to read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} is not YAML: {' '.join(str(error).split())}") from None
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None
