"""Settings come from SYNCLINE_* and arguments, and a mistake in them is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from agents.settings import Settings, SettingsError, load_settings, refuse_unknown_names


def test_environment_and_then_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment overrides defaults, arguments override the environment, None is no argument."""
    monkeypatch.setenv("SYNCLINE_APP_ID", "from-environment")
    monkeypatch.setenv("SYNCLINE_PARTITIONS", "16")
    settings = load_settings(partitions=4, kafka=None)
    assert (settings.app_id, settings.partitions, settings.kafka) == ("from-environment", 4, "127.0.0.1:9092")


def test_unknown_name_is_refused_with_the_near_one() -> None:
    """A name that nobody reads is a typing mistake, and the message has the right one."""
    with pytest.raises(SettingsError, match=r"SYNCLINE_PARTITONS is no setting.*did you mean 'SYNCLINE_PARTITIONS'\?"):
        refuse_unknown_names({"SYNCLINE_PARTITONS": "8", "PATH": ""})
    refuse_unknown_names({"SYNCLINE_CHANGELOG": "memory://", "SYNCLINE_CONSOLE_PORT": "1"})


@pytest.mark.parametrize("address", ["localhost", "host:", ":9092", "a:1,b", "kafka://"])
def test_address_without_port_is_refused(address: str) -> None:
    """Every broker address is host:port."""
    with pytest.raises(ValidationError, match="host:port"):
        Settings(kafka=address)


def test_both_send_steps_end_before_a_rebalance_does() -> None:
    """Two deadlines together are shorter than what a rebalance waits for unfinished work."""
    settings = Settings(rebalance_seconds=60)
    assert 2 * settings.send_deadline_seconds < settings.rebalance_seconds


def test_the_store_on_disk_needs_a_directory() -> None:
    """SYNCLINE_STORE=rocksdb alone does not say where; the message says what is missing."""
    with pytest.raises(ValidationError, match="set SYNCLINE_DATA_DIR"):
        Settings(store="rocksdb")
    assert Settings(store="rocksdb", data_dir="/data").data_dir == Path("/data")
