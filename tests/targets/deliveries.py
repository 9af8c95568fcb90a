"""Deliveries for tests."""

from syncline.target_conformance import TOPIC, delivery, golden

__all__ = ["TOPIC", "delivery", "golden"]
