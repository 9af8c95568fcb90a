"""What the sections of syncline.yaml are made of: strict mappings, names and times."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

ENTITY_TYPE: Final = r"[a-z][a-z0-9_]*"
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = r"(\d+)\s*(ms|s|m|h|d)"


def _duration_ms(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} must be a time such as 500ms, 1s, 5m, 2h or 1d")
    return int(match[1]) * _UNITS_MS[match[2]]


def name_key(value: object) -> str:
    """A key of a mapping; YAML would take it for a number, a truth or nothing if it looks like one."""
    if not isinstance(value, str):
        raise ValueError(f"the key {value!r} must be text; quote it")
    return value


def _entity_type(value: object) -> str:
    name = name_key(value)
    if not re.fullmatch(ENTITY_TYPE, name):
        raise ValueError("an entity type is lower case letters, digits and _")
    return name


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"{value!r} must be a list of names")
    if len(set(value)) != len(value):
        raise ValueError(f"{value!r} names something twice")
    return value


def addresses(value: object) -> str:
    """A broker's host:port, several with commas between. Raises ValueError."""
    for address in value.split(",") if isinstance(value, str) else [value]:
        host, colon, port = str(address).strip().rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError(f"{address!r} is no host:port, for example 127.0.0.1:9092")
    return str(value)


def _variable(value: object) -> object:
    # Without the value: people may have written the secret itself.
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("it must name an environment variable that has the secret, for example CRM_SECRET")
    if value.upper().startswith("SYNCLINE_"):
        raise ValueError("names that begin with SYNCLINE_ are settings; give the variable another name")
    return value


def url_of(*schemes: str) -> BeforeValidator:
    """For a URL of one of these schemes without a password."""
    expected = f"a URL such as {schemes[0]}://host.example/path"

    def checked(value: object) -> object:
        # Without the value: there may be a password in it.
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"it must be {expected}")
        if parts.password is not None or (parts.username and "http" in schemes):
            raise ValueError("a password does not belong in the file; name its environment variable by secret_env")
        return value

    return BeforeValidator(checked)


def mapping(value: object) -> object:
    """Nothing after a colon is an empty mapping, as people write it."""
    return {} if value is None else value


def or_nothing(kind: type[BaseModel]) -> BeforeValidator:
    """For a mapping of this kind of which nothing may be said."""
    return BeforeValidator(mapping, json_schema_input_type=kind | None)


Duration = Annotated[
    int,
    BeforeValidator(_duration_ms),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_DURATION}$"}]}),
]
Names = Annotated[
    list[str],
    BeforeValidator(_names),
    WithJsonSchema({"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}),
]
NameKey = Annotated[str, BeforeValidator(name_key)]
EntityType = Annotated[str, BeforeValidator(_entity_type)]
KafkaAddresses = Annotated[str, BeforeValidator(addresses)]
Variable = Annotated[str, BeforeValidator(_variable)]
Most = Annotated[int, Field(gt=0)]


class Document(BaseModel):
    """A mapping of the file: no other keys, no guessing at types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
