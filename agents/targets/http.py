"""A web service that takes batches of deliveries; docs/targets.md has the form of request and answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar

from agents.targets.bisection import Refused, deliver_what_passes
from agents.targets.message import message_text
from agents.targets.retry_after import retry_after_seconds
from agents.targets.signature import signature_headers, signing_key
from agents.targets.target import Receipt, TargetUnavailable, TargetUnusable
from schemas.target_document import HttpDocument
from streams.delivery import Delivery

MULTI_STATUS: Final = 207
#: The service has looked at the batch and will not take it. Any other trouble may be over with the next attempt, also
#: 401 or 404: somebody renews a token or deploys a route.
REFUSING: Final = frozenset({400, 409, 413, 422})
ANSWER_BYTES: Final = 1024 * 1024
TITLE_CHARACTERS: Final = 100


class HttpTarget:
    """Sends batches over connections that are kept open. Redirects are not followed."""

    def __init__(self, said: HttpDocument, secret: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._said = said
        self._timeout_seconds = said.timeout / 1000
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "syncline",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        if any(not value.isprintable() for value in self._headers.values()):
            raise TargetUnusable("headers_env: a value has a line break or another character that no header may have")
        try:
            self._key = None if secret is None else signing_key(secret)
        except ValueError as error:
            raise TargetUnusable(f"secret_env: {error}") from None
        self._session: ClientSession | None = None
        self.healthy = True

    async def open(self) -> None:
        """Nothing is sent: whether the service is there shows with the first batch."""
        if self._session is None:
            self._session = ClientSession(
                timeout=ClientTimeout(total=self._timeout_seconds),
                cookie_jar=DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
            )

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """One request, and more of them where something is refused."""
        self.healthy = False
        receipt = await deliver_what_passes(batch, self._send)
        self.healthy = True
        return receipt

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, part: Sequence[Delivery]) -> Receipt:
        assert self._session is not None, "open comes before deliver"
        body = f'{{"deliveries":[{",".join(map(message_text, part))}]}}'.encode()
        # Of the body: the same states sent whole, or edited, are another request.
        request_id = sha256(body).hexdigest()[:32]
        headers = {"Idempotency-Key": request_id}
        if self._key is not None:
            headers |= signature_headers(self._key, request_id, int(time.time()), body)
        try:
            async with self._session.request(
                self._said.method, self._said.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return Receipt(await refused(response, len(part)), len(body))
        except TimeoutError:
            raise TargetUnavailable(f"no answer within {self._timeout_seconds:g} s") from None
        except (ClientError, OSError) as error:
            raise TargetUnavailable(f"no answer: {type(error).__name__}") from None


async def refused(response: ClientResponse, count: int) -> dict[int, str]:
    """What a service refuses of a part of so many deliveries, by place. Raises Refused: all; TargetUnavailable."""
    status, answer = response.status, await answered(response)
    wait_seconds = retry_after_seconds(response.headers.get("Retry-After"), time.time())
    if status == MULTI_STATUS:
        return refused_one_by_one(answer.get("results"), count, wait_seconds)
    if status in REFUSING:
        raise Refused(f"HTTP {status}{title(answer)}")
    if not 200 <= status < 300:
        redirected = ": redirects are not followed; set url to where the service is" if status // 100 == 3 else ""
        raise TargetUnavailable(f"HTTP {status}{redirected}", wait_seconds)
    return {}


def refused_one_by_one(results: Any, count: int, wait_seconds: float | None) -> dict[int, str]:
    """The same of an answer that says it of each delivery. Raises TargetUnavailable: any may be tried again."""
    if not isinstance(results, list) or len(results) != count:
        raise TargetUnavailable(f"HTTP {MULTI_STATUS}: the answer needs `results`, a list with one for each of {count}")
    found: dict[int, str] = {}
    for place, result in enumerate(results):
        status = result.get("status") if isinstance(result, dict) else None
        if type(status) is int and status in REFUSING:
            found[place] = f"HTTP {status}{title(result)}"
        elif type(status) is not int or not 200 <= status < 300:
            said = f"status {status}" if type(status) is int else "no status"
            raise TargetUnavailable(f"HTTP {MULTI_STATUS}: delivery {place} has {said}", wait_seconds)
    return found


async def answered(response: ClientResponse) -> dict[str, Any]:
    """The answer as a JSON object, {} if it is none or too long."""
    body = b""
    while len(body) <= ANSWER_BYTES and (more := await response.content.read(ANSWER_BYTES + 1 - len(body))):
        body += more
    if len(body) > ANSWER_BYTES:
        response.close()
        return {}
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def title(answer: Mapping[str, Any]) -> str:
    """What kind of problem it is (RFC 9457): a title is the same for each occurrence, so no value is in it."""
    said = answer.get("title")
    return f": {said[:TITLE_CHARACTERS]}" if isinstance(said, str) and said.isprintable() else ""
