"""How and when records are delivered to a target: key `delivery` of a target in syncline.yaml."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, model_validator

from schemas.condition_document import Conditions
from schemas.document import Document, Duration, EntityType, Most, NameKey, or_nothing

MODES: Final = ("realtime", "incremental", "windowed_batch", "manual")
MIB: Final = 1024 * 1024


def _cron(value: object) -> str:
    try:
        CronSim(value if isinstance(value, str) else "", datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise ValueError(f"{value!r} must be a time as cron has it, for example '0 2 * * *'") from None
    return str(value)


def _zone(value: object) -> str:
    try:
        return str(ZoneInfo(str(value)))
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{value!r} must be a time zone such as UTC or Europe/Berlin") from None


Cron = Annotated[str, BeforeValidator(_cron)]


class ModeDocument(Document):
    """One mode with its settings."""

    mode: str = Field(
        "realtime",
        min_length=1,
        description=f"{', '.join(MODES)}, or the name of an entry point of group syncline.strategies",
    )
    window: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="windowed_batch: length of a window, counted from 1970 in UTC"
    )
    at: Cron | None = Field(None, description="windowed_batch: when windows end, as cron has it, in place of `window`")
    max_entities: Most = Field(10_000, description="windowed_batch: so many of one partition close a window early")
    max_bytes: Most = Field(16 * MIB, description="windowed_batch: so many of one partition close a window early")
    settings: dict[NameKey, Any] = Field({}, description="of a strategy of your own")

    @model_validator(mode="after")
    def _window_has_an_end(self) -> Self:
        if self.mode == "windowed_batch" and (self.window is None) == (self.at is None):
            raise ValueError("windowed_batch needs `window` or `at`, one of the two: window: 5m, or at: '0 2 * * *'")
        return self


class DuringDocument(Document):
    """A part of the day or week: from one time to another, as cron has them."""

    begin: Cron = Field(alias="from", description="when it begins")
    to: Cron = Field(description="when it ends")


class DeliveryRuleDocument(ModeDocument):
    """When another mode holds; all that is said must be so."""

    entities: list[EntityType] | None = Field(None, description="for these entity types; none: all")
    where: Conditions = Field({}, description="for records that meet these conditions; a deleted one meets none")
    during: DuringDocument | None = Field(None, description="in this part of the day or week")
    lag_over: Duration | None = Field(None, description="while what is due has waited for longer")


class DeliveryDocument(ModeDocument):
    """How and when a target is delivered to: a mode, and rules for other ones, of which the first that fits counts."""

    rules: dict[NameKey, Annotated[DeliveryRuleDocument, or_nothing(DeliveryRuleDocument)]] = Field(
        {}, description="other modes by name; the first that fits comes before the mode above"
    )
    timezone: Annotated[str, BeforeValidator(_zone)] = Field("UTC", description="of all cron times")
    batch_entities: Most = Field(500, description="most deliveries of one call")
    batch_bytes: Most = Field(MIB, description="of records in one call, about")
    pending_bytes: Most = Field(64 * MIB, description="of records held in memory; beyond that no more are read")
    attempts: Most = Field(5, description="of a delivery that fails alone while others pass, before it is put away")
    max_backoff: Annotated[Duration, Field(gt=0)] = Field(30_000, description="longest pause between attempts")
