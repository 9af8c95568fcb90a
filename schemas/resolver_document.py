"""Who wins a field, as syncline.yaml says it: a resolver of the table with its parameters, or a user's function."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas.document import Document, Duration, NameKey, Names

ResolverName = Literal[
    "last_update_wins",
    "first_update_wins",
    "source_priority",
    "authority",
    "max",
    "min",
    "longest",
    "union",
    "sum",
    "keep_siblings",
    "manual",
    "forward_only",
    "stock",
    "trust",
]

#: Resolver -> its parameters. Of `forward_only` one of the two is needed.
PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "forward_only": ("states", "transitions"),
    "stock": ("floor",),
    "trust": ("scores", "half_life"),
}
LONG: Final = range(-(1 << 63), 1 << 63)
_FUNCTION: Final = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*|[A-Za-z_][\w.-]*"


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} must be a number")
    if isinstance(value, int) and value not in LONG:
        raise ValueError(f"{value} must be a number of at most 64 bits")
    return value


def _score(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"{value!r} must be a number above 0 and at most 1, for example 0.9")
    return value


def _function(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(_FUNCTION, value):
        raise ValueError(f"{value!r} must be package.module:function, or the name of an entry point")
    return value


Number = Annotated[int | float, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
Score = Annotated[
    float, BeforeValidator(_score), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1})
]
FunctionName = Annotated[
    str, BeforeValidator(_function), WithJsonSchema({"type": "string", "pattern": f"^({_FUNCTION})$"})
]


class RuleDocument(Document):
    """Who wins."""

    resolver: ResolverName | None = Field(None, description="who wins; none: as one level further out says")
    custom: FunctionName | None = Field(None, description="in place of a resolver: package.module:function")
    states: Names | None = Field(None, description="of forward_only: the states in their order, first to last")
    transitions: dict[NameKey, Names] | None = Field(None, description="of forward_only: state -> states after it")
    floor: Number | None = Field(None, description="of stock: what it is never below; none: 0")
    scores: dict[NameKey, Score] | None = Field(None, description="of trust: source -> how much it is trusted when new")
    half_life: dict[NameKey, Duration] | None = Field(None, description="of trust: source -> in what time it halves")

    def parameters(self) -> dict[str, Any]:
        """The parameters that are given."""
        names = [name for taken in PARAMETERS.values() for name in taken]
        return {name: value for name in names if (value := getattr(self, name)) is not None}
