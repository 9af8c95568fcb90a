"""Section `targets` of syncline.yaml: where golden records are delivered to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.document import Document, Duration, Most

DEFAULT_TIMEOUT_MS = 10_000


class TargetDocument(Document):
    """What may be said of every target."""

    generation: Most = Field(1, description="raise it to have everything sent again as new")
    timeout: Annotated[Duration, Field(gt=0)] = Field(DEFAULT_TIMEOUT_MS, description="of one exchange with the target")


class JsonLinesDocument(TargetDocument):
    """A file with a JSON object in each line, on the machine of the worker."""

    kind: Literal["json_lines"]
    path: str = Field(min_length=1, description="the file that is written; rotated ones lie beside it")
    rotate_bytes: Most | None = Field(None, description="a file that has as many is put aside before the next write")
    rotate_every: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="no file has lines of two such periods, counted from 1970 in UTC"
    )
    compress: bool = Field(False, description="rotated files with gzip")
