"""What a field of a golden record must be, as syncline.yaml says it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from schemas.document import Document, NameKey
from schemas.record import Value


def _condition(value: object) -> object:
    if isinstance(value, dict):
        return value
    return {"one_of": value if isinstance(value, list) else [value]}


class ConditionDocument(Document):
    """What a field must be. In the file a value or a list of values will do for `one_of`."""

    one_of: list[Value] | None = Field(None, description="values of which it must have one; null: it is absent")
    none_of: list[Value] | None = Field(None, description="values of which it must have none; null: it is absent")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.one_of is None and self.none_of is None:
            raise ValueError("a condition needs one_of or none_of")
        return self


#: Field -> what it must be.
Conditions = dict[
    NameKey,
    Annotated[
        ConditionDocument,
        BeforeValidator(_condition, json_schema_input_type=ConditionDocument | list[Any] | str | float | bool | None),
    ],
]
