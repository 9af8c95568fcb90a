"""The service that writes the change log; none where no store is declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mode import Service

from agents.control import Control
from agents.ending import EX_CONFIG, end_process
from agents.journal.cleanup import rules_of
from agents.journal.loading import JournalError, load_plan
from agents.journal.recorder import Recorder
from agents.journal.transcribe import transcriptions
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from agents.web import Check
from streams.policy import Policy


def journal_services_or_end(
    settings: Settings, names: TopicNames, policy: Callable[[], Policy], metrics: Metrics, control: Control
) -> list[Service]:
    """The recorder, if the settings or their file declare a store. policy: the one of now.

    Ends the process with code 78 for a store that is declared wrongly.
    """
    try:
        plan = load_plan(settings)
    except JournalError as error:
        end_process(EX_CONFIG, str(error))
    if plan is None:
        return []
    recorder = Recorder(
        plan,
        control,
        transcriptions(names, policy, settings.masking_key),
        rules_of(plan.said, names),
        metrics,
        kafka=settings.kafka,
        group=f"{settings.app_id}-journal",
        session_seconds=settings.session_seconds,
    )
    for topic in (names.changes, names.conflicts):
        metrics.journal_lag.labels(topic).set_function(lambda topic=topic: recorder.lag(topic))
    return [recorder]


def journal_checks(services: Iterable[Service]) -> list[Check]:
    """What /readyz tells of the change log that is written here."""
    return [Check("journal", one.healthy, False, one.line()) for one in services if isinstance(one, Recorder)]
