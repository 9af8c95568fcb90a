"""The settings of a worker: the only place that reads SYNCLINE_* from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agents.config_file import worker_section
from schemas.document import KafkaAddresses
from schemas.journal_document import StoreUrl
from schemas.policy_document import PolicyError
from schemas.suggestion import suggestion
from streams.topics import DEFAULT_PARTITIONS, DEFAULT_PREFIX

PREFIX = "SYNCLINE_"

#: Read by the console, so it is no mistake here.
READ_ELSEWHERE = frozenset({"SYNCLINE_CONSOLE_PORT"})


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which, and what would be right."""


class Settings(BaseSettings):
    """Settings with their defaults; SYNCLINE_<NAME> in the environment overrides them, arguments both."""

    # Inputs stay out of messages: there may be a password in them.
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    kafka: KafkaAddresses = Field("127.0.0.1:9092", description="host:port of the broker; several with commas between")
    redis: str | None = Field(None, description="URL of the view's Redis; none: no view is kept")
    changelog: StoreUrl | None = Field(
        None,
        description="store of the change log: memory://, redis:// or postgresql://; none: as section journal says",
    )
    app_id: str = Field("syncline", min_length=1, description="Faust app id, which is the consumer group")
    store: Literal["memory", "rocksdb"] = Field("memory", description="where the states of entities are")
    data_dir: Path | None = Field(None, description="directory of the store rocksdb, for this worker alone")
    config: str | None = Field(None, description="path of the policy file; none: the default policy")
    topic_prefix: str = Field(DEFAULT_PREFIX, description="in front of every topic's name")
    partitions: int = Field(DEFAULT_PARTITIONS, ge=1, description="of every topic, when first created")
    replication_factor: int = Field(1, ge=1, description="of every topic, when first created; fewer are refused")
    processes: int = Field(1, ge=1, le=256, description="of one `syncline worker`; each computes on one core")
    web_port: int = Field(
        6066,
        ge=0,
        le=65535,
        description="metrics and probes, loopback; 0: no web server; of several processes the first one's",
    )
    log_level: str = Field("info", description="of the worker's log")
    session_seconds: float = Field(
        30.0, ge=1, description="group session; the embedded broker answers joins in half of it, so 6 to 10 there"
    )
    request_seconds: float = Field(
        40.0, gt=0, description="deadline of a request to Kafka; session_seconds and 10 more where that is longer"
    )
    rebalance_seconds: float = Field(60.0, gt=0, description="what a worker has to finish its work in a rebalance")
    send_seconds: float | None = Field(
        None, gt=0, description="deadline of a batch's sends; none: a quarter of rebalance_seconds"
    )
    recovery_seconds: float = Field(
        600.0, gt=0, description="a worker ends that is not ready and recovers nothing for so long"
    )
    stall_seconds: float = Field(30.0, gt=0, description="a worker whose event loop stands still this long ends")
    progress_seconds: float = Field(
        120.0, gt=0, description="a worker ends that has records to read and makes no progress for so long"
    )
    trust_seconds: float = Field(
        30.0, gt=0, description="between two looks at all states where a policy weighs trust, which falls by itself"
    )
    cache_mib: int = Field(32, ge=0, description="memory for decoded entities, about; the rest are read back")
    batch_records: int = Field(16_000, ge=1, description="most records of one fetch")
    personal_key: SecretStr | None = Field(
        None, min_length=16, description="key of the hashes that stand for personal values; none: stars do"
    )
    batches_in_flight: int = Field(3, ge=1, le=4, description="of one partition: being sent, or waiting for that")

    @model_validator(mode="after")
    def _directory(self) -> Self:
        if self.store == "rocksdb" and self.data_dir is None:
            raise ValueError("the store rocksdb needs a directory: set SYNCLINE_DATA_DIR")
        return self

    @property
    def masking_key(self) -> bytes | None:
        """The key that `streams.masking.masked` takes."""
        return None if self.personal_key is None else self.personal_key.get_secret_value().encode()

    @property
    def send_deadline_seconds(self) -> float:
        """Deadline of each of the two send steps of a batch: both together stay below half a rebalance."""
        return self.send_seconds if self.send_seconds is not None else self.rebalance_seconds / 4


def load_settings(**flags: object) -> Settings:
    """Settings of the file that SYNCLINE_CONFIG names, the environment over it, and flags over both.

    flags whose value is None are not given. Raises SettingsError for a name nobody reads and a file that cannot be
    read; pydantic's ValidationError says which value is wrong.
    """
    refuse_unknown_names(os.environ)
    given = {name: value for name, value in flags.items() if value is not None}
    return Settings(**{**_of_file(given), **given})


def origins(**flags: object) -> dict[str, str]:
    """Setting -> where its value comes from: a flag, an environment variable, the file, or the default."""
    given = {name: value for name, value in flags.items() if value is not None}
    of_file, environment = _of_file(given), {name.upper() for name in os.environ}
    path = config_path(given)
    return {
        name: f"--{name.replace('_', '-')}"
        if name in given
        else PREFIX + name.upper()
        if PREFIX + name.upper() in environment
        else f"{path}: worker"
        if name in of_file
        else "default"
        for name in Settings.model_fields
    }


def config_path(flags: Mapping[str, object]) -> str | None:
    """The file that a flag or the environment names."""
    path = flags.get("config") or os.environ.get(PREFIX + "CONFIG")
    return None if path is None else str(path)


def _of_file(flags: Mapping[str, object]) -> dict[str, Any]:
    """The file's settings, less those that the environment overrides. Raises SettingsError."""
    path = config_path(flags)
    try:
        section = worker_section(path)
    except PolicyError as error:
        raise SettingsError(str(error)) from None
    allowed = Settings.model_fields.keys() - {"config", "personal_key"}
    for name in section:
        if name == "personal_key":
            raise SettingsError(f"{path}: worker: personal_key is a secret; set SYNCLINE_PERSONAL_KEY instead")
        if name not in allowed:
            raise SettingsError(f"{path}: worker: {name!r} is no setting; {suggestion(str(name), allowed)}")
    overridden = {name.upper() for name in os.environ}
    return {name: value for name, value in section.items() if PREFIX + name.upper() not in overridden}


def refuse_unknown_names(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for the first SYNCLINE_* name that is no setting: a typing mistake must not pass."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | READ_ELSEWHERE
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise SettingsError(f"{name} is no setting of Syncline; {suggestion(name.upper(), known)}")
