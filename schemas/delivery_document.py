"""How and when records are delivered to a target: key `delivery` of a target in syncline.yaml."""

from __future__ import annotations

from schemas.document import Document


class DeliveryDocument(Document):
    """How and when a target is delivered to."""
