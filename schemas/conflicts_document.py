"""Section `conflicts` of syncline.yaml: what is recorded of them."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from schemas.document import Document, Most

DEFAULT_PER_MINUTE: Final = 100


class ConflictsDocument(Document):
    """What is recorded of conflicts; it decides nothing."""

    per_minute: Most = Field(
        DEFAULT_PER_MINUTE, description="records of one entity in a minute; of more, fewer and fewer are sent"
    )
