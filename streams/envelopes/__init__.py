"""Foreign envelopes: what other systems write, as a change in our JSON form. Pure, one file each.

An envelope is a function of a record's key and value, both parsed JSON (the key None where there is none). It returns
the JSON form of a change, without a source and, where the envelope tells none, without version and event id. It raises
Refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from schemas.ingest_document import IngestDocument
from streams.envelopes.cloudevents import cloudevents
from streams.envelopes.debezium import debezium
from streams.envelopes.identity import Identity

Envelope = Callable[[Any, Any], dict[str, Any]]

ENVELOPES: Final = {"debezium": debezium, "cloudevents": cloudevents}


def envelope_of(document: IngestDocument) -> Envelope | None:
    """The envelope in which a source's changes arrive; None for our own form."""
    if document.format == "syncline":
        return None
    return partial(ENVELOPES[document.format], Identity(document.entity_type, tuple(document.id or ())))
