"""Every released schema stays readable for ever (BACKWARD_TRANSITIVE), and stays as it is."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse as parse_avro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas import codec, fast
from schemas.avro_scan import shape_of
from schemas.change import Change
from schemas.released import HERE, TABLE, load_table, newest
from tests.schemas.examples import plain

FILES = {
    "Change": "change",
    "GoldenRecord": "golden_record",
    "Conflict": "conflict",
    "Command": "command",
    "EntityState": "entity_state",
}


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def newest_of(record: str) -> Any:
    """The schema beside the model."""
    return load(HERE / f"{FILES[record]}.avsc")


def released_of(record: str) -> list[Path]:
    """Every released version of a record's schema."""
    return sorted((HERE / "released").glob(f"{FILES[record]}.v*.avsc"))


def faults(reader: Any, writer: Any) -> list[str]:
    """Why the reader's schema cannot read what the writer's wrote; nothing if it can."""
    result = ReaderWriterCompatibilityChecker().get_compatibility(
        parse_avro(json.dumps(reader)), parse_avro(json.dumps(writer))
    )
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return sorted(result.messages)


@pytest.mark.parametrize("record", FILES)
def test_the_newest_reads_every_released(record: str) -> None:
    """The schema beside the model can read what any released schema of the record wrote."""
    assert released_of(record)
    for path in released_of(record):
        assert faults(newest_of(record), load(path)) == [], path.name


def without_default(schema: Any) -> None:
    schema["fields"].append({"name": "tenant", "type": "string"})


def narrower(schema: Any) -> None:
    next(field for field in schema["fields"] if field["name"] == "version")["type"] = "int"


def fewer_symbols(schema: Any) -> None:
    next(field for field in schema["fields"] if field["name"] == "op")["type"]["symbols"].remove("snapshot")


def fewer_branches(schema: Any) -> None:
    before = next(field for field in schema["fields"] if field["name"] == "before")["type"]
    before[1]["values"].remove("double")


def renamed(schema: Any) -> None:
    schema["fields"][0]["name"] = "id"


@pytest.mark.parametrize("spoil", [without_default, narrower, fewer_symbols, fewer_branches, renamed])
def test_an_incompatible_schema_is_noticed(spoil: Callable[[Any], None]) -> None:
    """The check above turns red: each way to break readers of old changes is found by it."""
    schema = copy.deepcopy(newest_of("Change"))
    spoil(schema)
    assert faults(schema, load(released_of("Change")[0]))


def test_a_compatible_schema_passes() -> None:
    """A field that has a default may be added."""
    schema = newest_of("Change")
    schema["fields"].append({"name": "tenant", "type": "string", "default": ""})
    assert faults(schema, load(released_of("Change")[0])) == []


def test_the_table_names_every_released_file() -> None:
    """Each file under released/ has one id, of its record, with the fingerprint of what the file says."""
    table = load(HERE / "ids.json")
    assert sorted(line["file"] for line in table.values()) == sorted(
        f"released/{path.name}" for path in (HERE / "released").iterdir()
    )
    for line in table.values():
        schema = load(HERE / line["file"])
        assert schema["name"] == line["record"]
        assert line["fingerprint"] == fingerprint(to_parsing_canonical_form(schema), "sha256"), line["file"]


@pytest.mark.parametrize("record", FILES)
def test_what_is_written_is_released(record: str) -> None:
    """The schema beside the model is the newest released one: to change it, release it under a new id."""
    assert newest(record).fingerprint == fingerprint(to_parsing_canonical_form(newest_of(record)), "sha256")


def everything_documented(node: Any, place: str) -> None:
    if isinstance(node, list):
        for branch in node:
            everything_documented(branch, place)
    elif isinstance(node, dict):
        if node.get("type") in ("record", "enum"):
            assert node.get("doc"), f"{place}: {node['name']} has no doc"
        for field in node.get("fields", ()):
            assert field.get("doc"), f"{place}.{field['name']} has no doc"
            everything_documented(field["type"], f"{place}.{field['name']}")
        for inner in ("items", "values"):
            everything_documented(node.get(inner), place)


@pytest.mark.parametrize("record", FILES)
def test_schemas_explain_themselves(record: str) -> None:
    """Every record, enum and field of a schema has a doc, and the record is in our namespace."""
    schema = newest_of(record)
    assert schema["namespace"] == "syncline"
    everything_documented(schema, record)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": "null"},
        {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "r", "type": ["null", "R"]}],
        },
    ],
)
def test_a_schema_that_allows_bombs_is_refused(schema: Any) -> None:
    """Items without bytes and recursion have no bound in the size of the input: no such schema is taken."""
    with pytest.raises(ValueError, match=r"no bytes|recursive"):
        shape_of(schema)


def test_a_nested_schema_is_refused_beyond_a_depth() -> None:
    """A schema that is itself a bomb of nesting is refused."""
    schema: Any = "long"
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValueError, match="deeper"):
        shape_of(schema)


def test_an_older_writer_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change written with an older released schema is read as one of the newest, by both decoders."""
    old = newest_of("Change")
    # As if seen had come later: it has a default, so what lacks it is read with that.
    old["fields"] = [field for field in old["fields"] if field["name"] != "seen"]
    (tmp_path / "old.avsc").write_text(json.dumps(old))
    line = {"record": "Change", "file": "old.avsc", "fingerprint": ""}
    (tmp_path / "ids.json").write_text(json.dumps({"900": line}))
    older = load_table(tmp_path / "ids.json")[900]
    monkeypatch.setitem(TABLE, 900, older)
    body = io.BytesIO()
    datum = plain(before=None, fields={"n": ("long", 1), "x": ("double", 1.0)})
    del datum["seen"]
    fastavro.schemaless_writer(body, older.schema, datum)
    data = older.frame + body.getvalue()
    expected = Change(**plain(before=None, seen=None, fields={"n": 1, "x": 1.0})).wire()
    assert codec.decode_change(data) == expected
    assert fast.decode_change(data) == expected
