"""Where a source's changes arrive, as syncline.yaml says it: read, checked, and no part of the policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from agents.control import Control
from agents.ingest.compose import IngestUnusable, streams_of, topics_of
from agents.ingest.compose import ingest_services as services
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from schemas.policy_document import mistakes, read_document
from schemas.refusal import DEFAULT_LIMITS
from streams.policy import PolicyError, parse_policy
from tests.syncline.test_cli import invoke

EXAMPLE = """
sources:
  web: {}
  crm: {topic: crm.changes}
  shop: {redis_stream: shop.changes}
  till: {redis_stream: {stream: till.changes, min_idle: 1m, keep: 1d, url: "redis://till.example:6379/0"}}
"""


def test_a_source_says_where_its_changes_arrive() -> None:
    """A stream's name alone will do for all that may be said of it."""
    sources = read_document(yaml.safe_load(EXAMPLE)).sources or {}
    assert topics_of(sources) == {"crm.changes": "crm"}
    found = streams_of(sources)
    assert {name: (one.stream, one.min_idle, one.keep) for name, one in found.items()} == {
        "shop": ("shop.changes", 30_000, None),
        "till": ("till.changes", 60_000, 86_400_000),
    }


def test_it_is_no_part_of_the_policy() -> None:
    """The version is that of the same file without it: nothing is decided otherwise."""
    plain = {"sources": {"web": {}, "crm": {}, "shop": {}, "till": {}}}
    assert parse_policy(yaml.safe_load(EXAMPLE)).version == parse_policy(plain).version
    assert parse_policy({"sources": {"crm": {"max_future": "1h"}}}).version != parse_policy(plain).version


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: {a: {topic: t, redis_stream: s}}", "sources.a: it has a topic and a redis_stream; say where"),
        ("sources: {a: {format: debezium}}", "sources.a: a format is that of a topic or a redis_stream; name one"),
        ("sources: {a: {topic: t, id: [id]}}", "sources.a: entity_type and id are for changes in another format"),
        (
            "sources: {a: {topic: t, format: debezum}}",
            "sources.a.format: 'debezum' is not known; did you mean 'debezium'",
        ),
        ("sources: {a: {topic: t}, b: {topic: t}}", "sources.b: topic 't' is that of 'a'; each has its own"),
        ("sources: {a: {redis_stream: s}, b: {redis_stream: s}}", "sources.b: redis_stream 's' is that of 'a'"),
    ],
)
def test_a_place_has_one_source_and_a_source_one_place(text: str, problem: str) -> None:
    """Whatever comes on a topic or stream is its source's, and versions follow from where it is."""
    with pytest.raises(PolicyError, match=problem):
        parse_policy(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: {a: {topik: t}}", "policy, sources.a: unknown key 'topik'; did you mean 'topic'?"),
        ("sources: {a: {redis_stream: {sream: s}}}", "policy, sources.a.redis_stream: unknown key 'sream'; did you"),
        ("sources: {a: {redis_stream: {stream: s, min_idle: 0}}}", "policy, sources.a.redis_stream.min_idle: "),
        ("sources: {a: {redis_stream: {stream: s, url: 'redis://u:tell-nobody@h'}}}", "a password does not belong in"),
    ],
)
def test_every_mistake_has_its_place(text: str, problem: str) -> None:
    """And what would be right; no secret is repeated."""
    found = mistakes(yaml.safe_load(text))
    assert any(problem in line for line in found), found
    assert "tell-nobody" not in str(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: {a: {topic: syncline.changes}}", "sources.a.topic: syncline.changes is Syncline's own"),
        ("sources: {a: {redis_stream: s}}", "sources.a.redis_stream has no url and SYNCLINE_REDIS is not set"),
        (
            "sources: {a: {redis_stream: {stream: s, url: 'redis://h', secret_env: NOT_SET_ANYWHERE}}}",
            "sources.a.redis_stream.secret_env: the variable NOT_SET_ANYWHERE is not set",
        ),
    ],
)
def test_a_worker_does_not_start_with_what_it_cannot_read(text: str, problem: str) -> None:
    """One line says what to change."""
    settings, names = Settings(), TopicNames.with_prefix("syncline.")
    sources = read_document(yaml.safe_load(text)).sources or {}
    control = Control(settings.kafka, names.control)
    with pytest.raises(IngestUnusable, match=problem):
        services(settings, sources, names, DEFAULT_LIMITS, Metrics(), control, lambda: True)


def test_status_without_sources_says_so(tmp_path: Path) -> None:
    """Where nothing is declared there is nothing to show."""
    file = tmp_path / "syncline.yaml"
    file.write_text("sources: {crm: {}}")
    code, out, err = invoke("ingest", "status", "--config", str(file))
    assert (code, out) == (0, "")
    assert "no source has a topic or a redis_stream" in err
