"""What a target refuses: nothing else waits for it, and it can be looked at, edited and delivered after all."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Deployment
from tests.delivery.run import delivering
from tests.targets.web_service import accepting, answering


async def test_dead_letters(deployment: Deployment, tmp_path: Path) -> None:
    """One for each entity, with its reason; edited and driven again it is delivered, and an older one never is."""
    async with delivering(deployment, tmp_path) as run:
        run.service.refuses = lambda message: (message["fields"] or {}).get("x") == "bad"
        await run.write(
            [("a:1", {"x": "bad"}), ("a:2", {"x": "bad", "y": 1}), ("a:3", {"x": "bad"}), ("a:4", {"x": 1})]
        )
        run.start()
        await run.until(lambda: "a:4" in run.service.reader.contents, "a:4 lacks")
        await run.until_letters(3)
        (one,) = [row for row in await run.told("targets", "dead-letters", "list", "crm") if row["key"] == "a:2"]
        assert "422" in one["reason"] and one["attempts"] == 1
        await run.cli("targets", "dead-letters", "edit", "crm", "a:2", 'x="good"')
        await run.cli("targets", "dead-letters", "redrive", "crm", "a:2")
        await run.until(lambda: run.service.reader.contents.get("a:2") == {"x": "good", "y": 1}, "a:2 lacks")
        await run.until_letters(2)
        # A newer state of a:1 went meanwhile: the older one is dropped. a:3 is refused again.
        await run.write([("a:1", {"x": 2})])
        await run.until(lambda: run.service.reader.contents.get("a:1") == {"x": 2}, "a:1 lacks")
        await run.cli("targets", "dead-letters", "redrive", "crm")
        await run.until_letters(1)
        assert [m["fields"]["x"] for m in run.messages() if m["key"] == "a:1"].count(2) == 1
        await run.until(lambda: [m["key"] for m in run.messages()].count("a:3") >= 2, "a:3 was not tried again")
        await run.cli("targets", "dead-letters", "drop", "crm", "a:3")
        await run.until_letters(0)


async def test_skip_and_force(deployment: Deployment, tmp_path: Path) -> None:
    """What is skipped is a dead letter, and an entity can be sent by name, whole and at once."""
    async with delivering(deployment, tmp_path, {"mode": "manual"}) as run:
        await run.write([("a:1", {"x": 1}), ("a:2", {"x": 1}), ("a:3", {"x": 1})])
        run.start()
        await run.until_pending(3)
        await run.cli("targets", "skip", "crm", "a:1")
        await run.until_letters(1)
        await run.until_pending(2)
        await run.cli("force-sync", "a:2", "--target", "crm")
        await run.until(lambda: run.service.reader.contents == {"a:2": {"x": 1}}, "a:2 lacks")
        await run.until_pending(1)
        await run.cli("force-sync", "a:2", "--target", "crm")
        await run.until(lambda: len(run.messages()) == 2, "it was not sent again")


async def test_one_that_always_fails_is_put_away(deployment: Deployment, tmp_path: Path) -> None:
    """A delivery that makes the target fail holds nothing up, and is put away when others have passed beside it."""

    async def failing(service, request, messages):  # type: ignore[no-untyped-def]
        bad = any(message["key"] == "a:0" for message in messages)
        return await (answering(500) if bad else accepting)(service, request, messages)

    async with delivering(deployment, tmp_path, {"attempts": 2}) as run:
        run.service.always = failing
        await run.write((f"a:{number}", {"x": number}) for number in range(20))
        run.start()
        await run.until(lambda: len(run.service.reader.contents) == 19, "others wait")
        await run.write([("a:1", {"x": 7})])
        await run.until(lambda: run.service.reader.contents["a:1"] == {"x": 7}, "a:1 waits")
        await run.until_letters(1)
