"""Delivery to a web service: what is sent, and what is made of every answer."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.targets.bisection import Refused, deliver_what_passes
from agents.targets.http import ANSWER_BYTES, HttpTarget
from agents.targets.loading import load_target
from agents.targets.retry_after import LONGEST_SECONDS, retry_after_seconds
from agents.targets.target import Receipt, TargetUnavailable, TargetUnusable
from schemas.target_document import HttpDocument
from tests.targets.deliveries import delivery
from tests.targets.documented import documented
from tests.targets.web_service import Service, answering, crashing, resetting, running_service

SECRET = "whsec_" + base64.b64encode(b"a key of 24 bytes or more").decode()
BATCH = [delivery(f"customer:{number}", number, {"count": number}) for number in range(8)]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that accepts everything."""
    async with running_service() as running:
        yield running


@pytest.fixture
async def target(service: Service) -> AsyncIterator[HttpTarget]:
    """A target that signs what it sends there."""
    made = HttpTarget(HttpDocument(kind="http", url=service.url, timeout=30_000), SECRET, {"Authorization": "Bearer t"})
    await made.open()
    yield made
    await made.close()


async def test_a_request(service: Service, target: HttpTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request with an idempotency key; it passes the check of docs/targets.md, an altered or late one does not."""
    await target.deliver(BATCH)
    ((request, body),) = service.requests
    assert (request.method, request.content_type) == ("POST", "application/json")
    assert request.headers["Authorization"] == "Bearer t"
    assert request.headers["Idempotency-Key"] == request.headers["webhook-id"]
    verified = documented().verified
    assert verified(SECRET, request.headers, body)
    assert not verified("whsec_AAAA", request.headers, body)
    assert not verified(SECRET, request.headers, body.replace(b'"count":1', b'"count":9'))
    monkeypatch.setattr(time, "time", lambda: float(request.headers["webhook-timestamp"]) + 301)
    assert not verified(SECRET, request.headers, body)
    messages = orjson.loads(body)["deliveries"]
    assert [message["idempotency_key"] for message in messages] == [each.idempotency_key for each in BATCH]


async def test_the_same_batch_has_the_same_key(service: Service, target: HttpTarget) -> None:
    """An attempt that is made again is known by its key, and another batch by another one."""
    service.next += [crashing, answering(500), resetting]
    for _ in range(3):
        with pytest.raises(TargetUnavailable):
            await target.deliver(BATCH)
    await target.deliver(BATCH)
    await target.deliver(BATCH[:2])
    keys = [request.headers["Idempotency-Key"] for request, _ in service.requests]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]
    assert service.reader.contents == {each.key: each.fields for each in BATCH}


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_accepted(service: Service, target: HttpTarget, status: int) -> None:
    """Every other success is one, whatever the answer says, and however long it is."""
    service.next.append(answering(status, b"" if status == 204 else b"x" * (2 * ANSWER_BYTES)))
    assert (await target.deliver(BATCH)).refused == {}
    assert target.healthy


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_refused(service: Service, target: HttpTarget, status: int) -> None:
    """What is refused is halved until the bad ones stand alone, and named with the title of the problem alone."""
    service.refuses = lambda message: message["key"] == "customer:5"

    async def refusing(service: Service, request: Any, messages: list[dict[str, Any]]) -> Any:
        if any(map(service.refuses, messages)):
            return await answering(status, b'{"title":"Email is taken","detail":"ana@example.com"}')(
                service, request, []
            )
        service.take(messages)
        return await answering(204)(service, request, [])

    service.always = refusing
    receipt = await target.deliver(BATCH)
    assert receipt.refused == {5: f"HTTP {status}: Email is taken"}
    assert len(service.reader.contents) == 7
    assert len(service.requests) == 1 + 2 * 3


@pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 418, 425, 500, 502, 504, 599])
async def test_unavailable(service: Service, target: HttpTarget, status: int) -> None:
    """Whatever may be over with the next attempt is no reason to refuse a record."""
    service.next.append(answering(status))
    with pytest.raises(TargetUnavailable, match=f"^HTTP {status}$") as raised:
        await target.deliver(BATCH)
    assert raised.value.retry_after_seconds is None
    assert not target.healthy
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after(service: Service, target: HttpTarget, status: int) -> None:
    """How long to wait is handed on, said in seconds or as a date."""
    service.next += [
        answering(status, Retry_After="7"),
        answering(status, Retry_After=formatdate(time.time() + 90, usegmt=True)),
    ]
    waits = []
    for _ in range(2):
        with pytest.raises(TargetUnavailable) as raised:
            await target.deliver(BATCH)
        waits.append(raised.value.retry_after_seconds)
    assert waits[0] == 7.0
    assert waits[1] is not None
    assert 80 < waits[1] <= 90


async def test_redirects_are_not_followed(service: Service, target: HttpTarget) -> None:
    """A signed batch goes nowhere but to the URL of the file."""
    service.next += [
        answering(307, Location=f"{service.url}?elsewhere"),
        answering(301, Location="http://127.0.0.1:1/"),
    ]
    for _ in range(2):
        with pytest.raises(TargetUnavailable, match="redirects are not followed"):
            await target.deliver(BATCH)
    assert len(service.requests) == 2
    assert service.reader.contents == {}


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        (b'{"results":[]}', "one for each of 8"),
        (b"[]", "one for each of 8"),
        (b"no json", "one for each of 8"),
        (b"{" + b" " * ANSWER_BYTES + b"}", "one for each of 8"),
        (b'{"results":[1,2,3,4,5,6,7,8]}', "delivery 0 has no status"),
        (b'{"results":[' + b'{"status":200},' * 7 + b'{"status":503}]}', "delivery 7 has status 503"),
        (b'{"results":[' + b'{"status":200},' * 7 + b'{"status":"200"}]}', "delivery 7 has no status"),
        (b'{"results":[' + b'{"status":200},' * 7 + b'{"status":[]}]}', "delivery 7 has no status"),
    ],
)
async def test_an_answer_for_each_that_is_none(
    service: Service, target: HttpTarget, results: bytes, problem: str
) -> None:
    """A 207 that does not say of each delivery what became of it leaves all of them to the next attempt."""
    service.next.append(answering(207, results, Retry_After="3"))
    with pytest.raises(TargetUnavailable, match=problem):
        await target.deliver(BATCH)


async def test_nobody_listens(service: Service, target: HttpTarget) -> None:
    """A port without a service makes the target unavailable, in one line without the address's secrets."""
    lost = HttpTarget(HttpDocument(kind="http", url="http://127.0.0.1:1/?token=tell-nobody"))
    await lost.open()
    with pytest.raises(TargetUnavailable, match="no answer: ClientConnectorError") as raised:
        await lost.deliver(BATCH)
    await lost.close()
    assert "tell-nobody" not in str(raised.value)


async def test_put(service: Service) -> None:
    """The method is the file's, and without a secret nothing is signed."""
    target = HttpTarget(HttpDocument(kind="http", url=service.url, method="PUT"))
    await target.open()
    await target.deliver(BATCH)
    await target.close()
    ((request, _),) = service.requests
    assert request.method == "PUT"
    assert "webhook-signature" not in request.headers


def test_secrets_come_from_the_environment() -> None:
    """A variable that is not set, and a secret or header that cannot be one, are named without their values."""
    said = HttpDocument(
        kind="http", url="https://h/", secret_env="CRM_SECRET", headers_env={"Authorization": "CRM_TOKEN"}
    )
    for environment, problem in (
        ({"CRM_TOKEN": "x"}, "targets.crm.secret_env: the environment variable CRM_SECRET is not set"),
        (
            {"CRM_SECRET": "x", "CRM_TOKEN": ""},
            "targets.crm.headers_env.Authorization: the environment variable CRM_TOKEN",
        ),
        ({"CRM_SECRET": "whsec_tell-nobody", "CRM_TOKEN": "x"}, "secret_env: after whsec_ it must be Base64"),
        ({"CRM_SECRET": "x", "CRM_TOKEN": "tell-nobody\nX: y"}, "headers_env: a value has a line break"),
    ):
        with pytest.raises(TargetUnusable) as raised:
            load_target("crm", said, environment)
        assert problem in str(raised.value)
        assert "tell-nobody" not in str(raised.value)
    assert isinstance(load_target("crm", said, {"CRM_SECRET": "x", "CRM_TOKEN": "x"}), HttpTarget)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("9" * 5000, LONGEST_SECONDS),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:03:20 GMT", 100.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_SECONDS),
        ("Fri, 99 Dec 9999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read(said: str | None, seconds: float | None) -> None:
    """Seconds, or the time until a date, within a day; anything else says nothing."""
    assert retry_after_seconds(said, now=100.0) == seconds


@given(st.lists(st.booleans(), max_size=70))
async def test_bisection(bad: list[bool]) -> None:
    """Each good one is delivered in its order, each bad one is refused, and the calls are few."""
    delivered: list[int] = []
    calls = 0

    async def send(part: Any) -> Receipt:
        nonlocal calls
        calls += 1
        if any(bad[place] for place in part):
            raise Refused("bad")
        delivered.extend(part)
        return Receipt(sent_bytes=len(part))

    receipt = await deliver_what_passes(list(range(len(bad))), send)
    good = [place for place, one in enumerate(bad) if not one]
    assert delivered == good
    assert set(receipt.refused) == set(range(len(bad))) - set(good)
    assert receipt.sent_bytes == len(good)
    assert calls <= 1 + 2 * (len(bad) - len(good)) * len(bad).bit_length()
