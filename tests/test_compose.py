"""The compose file and the image: valid, pinned, on loopback only, and started in the right order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_FILE = ROOT / "docker-compose.kafka.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"

PINNED_TAG = re.compile(r"^[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?$")
# SPEC section 7, and the topic prefix of section 5.
ENVIRONMENT_NAMES = {
    "SYNCLINE_KAFKA",
    "SYNCLINE_REDIS",
    "SYNCLINE_CHANGELOG",
    "SYNCLINE_APP_ID",
    "SYNCLINE_CONFIG",
    "SYNCLINE_WEB_PORT",
    "SYNCLINE_CONSOLE_PORT",
    "SYNCLINE_PARTITIONS",
    "SYNCLINE_TOPIC_PREFIX",
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file by name."""
    content = yaml.safe_load(COMPOSE_FILE.read_text())
    return dict(content["services"])


def compose_config(file: Path) -> subprocess.CompletedProcess[str]:
    """Let Docker Compose itself read a file; it needs no engine for that."""
    program = Path(sys.executable).with_name("docker-compose")
    return subprocess.run([program, "-f", file, "config", "-q"], capture_output=True, text=True)


def test_docker_compose_accepts_the_file() -> None:
    """Docker Compose reads the file without a complaint."""
    done = compose_config(COMPOSE_FILE)
    assert (done.returncode, done.stderr) == (0, "")


def test_docker_compose_would_refuse_a_wrong_file(tmp_path: Path) -> None:
    """The check above can fail: an unknown key is refused."""
    wrong = tmp_path / "compose.yml"
    wrong.write_text(COMPOSE_FILE.read_text().replace("ports:", "portz:"))
    assert compose_config(wrong).returncode != 0


def test_every_part_is_there(services: dict[str, dict[str, Any]]) -> None:
    """Kafka, Redis, PostgreSQL and one worker, and nothing that is not spoken of."""
    assert set(services) == {"kafka", "redis", "postgres", "worker"}


def test_ports_are_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    """Whatever is published is published on 127.0.0.1."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    """Every image, also each one that the Dockerfile starts from, has a tag with a version."""
    images = [service["image"] for service in services.values() if "image" in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert len(images) >= 4
    assert [image for image in images if not PINNED_TAG.match(image)] == []


def test_every_part_says_when_it_is_healthy(services: dict[str, dict[str, Any]]) -> None:
    """Each service has a health check, the worker's in its image by /readyz."""
    without = [name for name, service in services.items() if "healthcheck" not in service]
    assert without == ["worker"]
    dockerfile = DOCKERFILE.read_text()
    assert "HEALTHCHECK" in dockerfile
    assert "/readyz" in dockerfile


def test_worker_starts_after_healthy_parts(services: dict[str, dict[str, Any]]) -> None:
    """The worker waits until Kafka, Redis and PostgreSQL are healthy."""
    conditions = {name: need["condition"] for name, need in services["worker"]["depends_on"].items()}
    assert conditions == dict.fromkeys(("kafka", "redis", "postgres"), "service_healthy")


def test_worker_is_set_up_by_documented_names(services: dict[str, dict[str, Any]]) -> None:
    """The worker's environment has only SYNCLINE_* names of the contract, with values as text."""
    environment = services["worker"]["environment"]
    assert set(environment) <= ENVIRONMENT_NAMES
    assert {"SYNCLINE_KAFKA", "SYNCLINE_REDIS"} <= set(environment)
    assert all(isinstance(value, str) for value in environment.values())


def test_what_must_last_is_on_volumes(services: dict[str, dict[str, Any]]) -> None:
    """Kafka, Redis and PostgreSQL keep their data on named volumes."""
    declared = set(yaml.safe_load(COMPOSE_FILE.read_text())["volumes"])
    used = {service["volumes"][0].split(":")[0] for service in services.values() if "volumes" in service}
    assert used == declared == {"kafka-data", "redis-data", "postgres-data"}


def test_image_runs_unprivileged_and_by_hash() -> None:
    """The image installs by hash and does not run as root."""
    dockerfile = DOCKERFILE.read_text()
    assert "USER syncline" in dockerfile.split("FROM ")[-1]
    installs = re.findall(r"pip install (.*)$", dockerfile, flags=re.MULTILINE)
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []


def test_image_installs_what_the_lock_file_names() -> None:
    """The image's lock file is a part of the big one: same versions, same hashes."""
    small = (ROOT / "deploy" / "requirements.lock").read_text()
    big = (ROOT / "requirements.lock").read_text()
    lines = {line for line in small.split("\n") if "==" in line or "--hash" in line}
    assert lines
    assert lines - set(big.split("\n")) == set()
