"""Sends each bomb through each door, and prints a JSON line about it: its size, its reason, and what it cost.

A program of its own, so that what it costs can be measured, and a crash of it be seen.
"""

from __future__ import annotations

import itertools
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

from schemas.avro_binary import encode_long, encode_string
from schemas.change import Change, parse_change_line
from schemas.codec import decode_command, encode_change
from schemas.refusal import Refusal
from schemas.released import newest
from streams.batch import BatchResolver
from streams.policy import parse_policy
from tests.laws.test_batch import GOOD, Record

KIB, MIB = 1024, 1024 * 1024
ADDRESS_SPACE = 2 << 30
CPU_SECONDS = 240
SELF = Path("/proc/self")

COMMAND, RESOLVE = newest("Command").frame, encode_long(2)
NOT_TOLD = encode_long(0)


def keys(count: int) -> str:
    return "{" + ",".join(f'"k{number}":0' for number in range(count)) + "}"


#: A JSON text -> the reason why it is no value of a field; None: it is one.
TEXTS: dict[str, tuple[str, str | None]] = {
    "1 MiB": ('["' + "x" * MIB + '"]', "too_large"),
    "10 MiB": ('["' + "x" * (10 * MIB) + '"]', "too_large"),
    "a million keys": (keys(1_000_000), "too_large"),
    "as many keys as fit": (keys(20_000), "value_too_large"),
    "as many arrays as fit": ("[" + ",".join(["[]"] * 80_000) + "]", "value_too_large"),
    "keys that begin alike": ("{" + ",".join(f'"{"k" * 600}{n}":0' for n in range(100)) + "}", None),
    "100,000 levels": ("[" * 100_000 + "]" * 100_000, "too_deep"),
    "100,000 levels without an end": ("[" * 100_000, "too_deep"),
    "30,000 levels of objects": ('{"a":' * 30_000 + "0" + "}" * 30_000, "too_deep"),
    "brackets in strings": ('["' + "[" * 60_000 + '"]', None),
    "10,000 digits": ("[" + "9" * 10_000 + "]", "bad_value"),
    "200,000 digits": ("[" + "9" * 200_000 + "]", "bad_value"),
    "200,000 digits before the point": ("[" + "9" * 200_000 + ".5]", "bad_value"),
    "200,000 digits behind the point": ("[0." + "9" * 200_000 + "]", None),
    "an exponent of 200,000 digits": ("[1e" + "9" * 200_000 + "]", "bad_value"),
    "an exponent of 200,000 digits below zero": ("[1e-" + "9" * 200_000 + "]", None),
    "1e400": ("[1e400]", "bad_value"),
    "NaN": ("[NaN]", "bad_value"),
    "Infinity": ('{"a":-Infinity}', "bad_value"),
    "a key twice": ('{"a":1,"a":2}', "bad_value"),
    "a key twice, spelled otherwise": ('{"a":1,"\\u0061":2}', "bad_value"),
    "a key twice, far in": ("[" * 30 + '{"a":1,"a":2}' + "]" * 30, "bad_value"),
    "a lone surrogate": ('["\\ud800"]', "bad_value"),
    "surrogates the wrong way round": ('["\\udc00\\ud800"]', "bad_value"),
    "a lone surrogate in a key": ('{"\\udfff":1}', "bad_value"),
    "a byte order mark": ("\ufeff[]", "bad_value"),
    "quotes without an end": ("[" * 300 + '"' * 100_001, "too_deep"),
    "backslashes without an end": ("[" * 300 + '"' + "\\" * 100_001, "too_deep"),
    "what escapes make larger": ('["' + "\\u0001" * 30_000 + '"]', "value_too_large"),
}
LARGE = ("1 MiB", "10 MiB", "a million keys")
#: A door that has no limit on size has the broker's.
NO_SIZE = dict.fromkeys((*LARGE, "as many keys as fit", "as many arrays as fit", "what escapes make larger"))

Door = Callable[[str], None]


def through_kafka(limits: dict[str, int] | None = None) -> Door:
    """As the value of a field of a change on the wire."""
    engine = BatchResolver(parse_policy({"limits": limits} if limits else None), "t")
    head = GOOD[: GOOD.rindex(encode_string("name"))]
    offsets = itertools.count()

    def door(text: str) -> None:
        value = head + encode_string("name") + b"\x0a" + encode_string(text) + NOT_TOLD
        letters = engine.resolve_batch(0, [Record(next(offsets), value)], {}).dead_letters
        if letters:
            raise Refusal(letters[0].reason, letters[0].message)

    return door


def through_publish(text: str) -> None:
    """As the value of a field in a line of `syncline publish`."""
    line = '{"entity_type":"customer","entity_id":"1","op":"update","source":"crm","fields":{"f":' + text + "}}"
    encode_change(Change.fill(parse_change_line(line.encode()), 1, 1))


def through_commands(text: str) -> None:
    """As the value that a person decided for."""
    who = b"".join(map(encode_string, ("customer", "1", "ana")))
    what = encode_long(1) + encode_string("f") + b"\x0a" + encode_string(text)
    about = NOT_TOLD + encode_long(1) + encode_string("4f8a") + 3 * NOT_TOLD  # no seen, a conflict, nothing else
    decode_command(COMMAND + encode_string("c") + RESOLVE + who + encode_long(1_000) + what + about)


RAISED = {"change_bytes": 16 * MIB, "value_bytes": 16 * MIB, "state_bytes": 32 * MIB}
DOORS: dict[str, tuple[Door, dict[str, str | None]]] = {
    "changes": (through_kafka(), {}),
    "changes, with limits raised": (through_kafka(RAISED), NO_SIZE),
    "publish": (through_publish, {}),
    "commands": (through_commands, NO_SIZE),
}


def memory_kib(line: str) -> int:
    """VmRSS or VmHWM of this process."""
    found = next(row for row in (SELF / "status").read_text().splitlines() if row.startswith(line))
    return int(found.split()[1])


def measured(door: Door, text: str) -> dict[str, object]:
    """What became of a text, and what it cost."""
    (SELF / "clear_refs").write_text("5")  # from now on VmHWM is the peak
    before_kib, begun = memory_kib("VmRSS"), time.process_time()
    reason = None
    try:
        door(text)
    except Refusal as refusal:
        reason = refusal.reason
    spent = time.process_time() - begun
    size = len(text) / MIB
    return {"mib": size, "reason": reason, "cpu_seconds": spent, "peak_mib": (memory_kib("VmHWM") - before_kib) / KIB}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    for door_name, (door, otherwise) in DOORS.items():
        for name, (text, reason) in TEXTS.items():
            wanted = otherwise.get(name, reason)
            print(json.dumps({"door": door_name, "bomb": name, "wanted": wanted, **measured(door, text)}), flush=True)
