"""Personal values: what stands for them, and that being personal decides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given

from agents.settings import Settings, SettingsError, load_settings
from schemas.canonical import canonical, parse
from streams.masking import HIDDEN, masked
from streams.policy import parse_policy
from syncline.processes import environment_of
from tests.laws.histories import VALUES

KEY = b"a key of sixteen"


@given(VALUES, VALUES)
def test_masked_values_are_equal_where_the_values_are(one: object, other: object) -> None:
    """Under one key a mask tells whether two values are the same, and nothing else; without a key not even that."""
    left, right = canonical(one), canonical(other)
    assert (masked(left, KEY) == masked(right, KEY)) is (left == right)
    assert masked(left, None) == (left if left == "null" else HIDDEN)
    if left != "null":
        assert len(parse(masked(left, KEY))) == len("hmac:") + 16
        assert masked(left, KEY) != masked(left, b"another key of sixteen")


def test_a_group_makes_all_its_members_personal() -> None:
    """A field is personal by its own entry or by its group's."""
    rules = {
        "fields": {"email": {"personal": True}, "tier": {}},
        "field_groups": {"postal": {"fields": ["street", "zip"], "personal": True}},
    }
    policy = parse_policy({"entities": {"customer": rules}})
    assert policy.of("customer").personal == {"email", "street", "zip"}
    assert policy.of("order").personal == frozenset()


@pytest.mark.parametrize("personal", [True, False])
def test_being_personal_is_no_part_of_the_version(personal: bool) -> None:
    """The policy's version names what decides who wins."""
    plain = {"fields": {"tier": {"resolver": "max"}}, "field_groups": {"postal": {"fields": ["street", "zip"]}}}
    marked = {
        "fields": {"tier": {"resolver": "max", "personal": personal}, "email": {"personal": personal}},
        "field_groups": {"postal": {"fields": ["street", "zip"], "personal": personal}},
    }
    versions = {parse_policy({"entities": {"customer": rules}}).version for rules in (plain, marked)}
    assert len(versions) == 1
    only = {"entities": {"customer": {"fields": {"email": {"personal": personal}}}}}
    assert parse_policy(only).version == parse_policy({"entities": {"customer": {}}}).version


def test_the_key_is_shown_nowhere_and_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is no part of what settings print; it comes from the environment and never from a file."""
    monkeypatch.setenv("SYNCLINE_PERSONAL_KEY", KEY.decode())
    settings = load_settings()
    assert KEY.decode() not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.masking_key == KEY
    assert environment_of(settings)["SYNCLINE_PERSONAL_KEY"] == KEY.decode()
    assert Settings().masking_key == KEY


def test_a_key_in_the_file_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A key in syncline.yaml is refused without being repeated."""
    path = tmp_path_factory.mktemp("config") / "syncline.yaml"
    path.write_text(f"worker: {{personal_key: {KEY.decode()}}}\n")
    with pytest.raises(SettingsError, match="set SYNCLINE_PERSONAL_KEY instead") as refused:
        load_settings(config=str(path))
    assert KEY.decode() not in str(refused.value)
