"""What RocksDB keeps beyond the process: only what was closed in order, for the changelog that it belongs to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.rocksdb_states import RocksHome
from agents.topic_identity import TopicIdentity
from tests.agents.homes import CHANGELOG, rocksdb_home

STATE = (b"customer:1", b"7 state")


def fill(home: RocksHome, partition: int = 0) -> None:
    """Keep a state, and close in order."""
    states = home.open(partition)
    states.replace(dict([STATE]))
    states.contained, states.contained_at, states.applied = 41, 1000.5, 7
    states.close()


def test_closed_in_order_it_goes_on(tmp_path: Path) -> None:
    """The next process finds the states, and how far they go."""
    home = rocksdb_home(tmp_path)
    fill(home)
    states = home.open(0)
    assert states.get(STATE[0]) == STATE[1]
    assert (states.contained, states.contained_at, states.applied) == (41, 1000.5, 7)


def test_not_closed_it_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory that a process was killed with is not trusted, even if it was closed in order once before."""
    home = rocksdb_home(tmp_path)
    fill(home)
    open_now = tmp_path / CHANGELOG / "0"
    states = home.open(0)
    shutil.copytree(open_now, tmp_path / CHANGELOG / "1")
    states.close()
    left = home.open(1)
    assert (left.get(STATE[0]), left.contained) == (None, -1)
    assert "not closed in order" in caplog.text


@pytest.mark.parametrize("other", [TopicIdentity("another", "topic id"), TopicIdentity("cluster", "another")])
def test_of_another_topic_it_is_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: TopicIdentity
) -> None:
    """States of another cluster, or of a topic of this name that was deleted since, are not taken for ours."""
    fill(rocksdb_home(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    states = rocksdb_home(tmp_path / "b", other).open(0)
    assert (states.get(STATE[0]), states.contained) == (None, -1)
    assert "they belong to" in caplog.text


def test_of_another_partition_it_is_built_anew(tmp_path: Path) -> None:
    """A directory that somebody moved to another partition's place is of no use there."""
    home = rocksdb_home(tmp_path)
    fill(home, partition=0)
    (tmp_path / CHANGELOG / "0").rename(tmp_path / CHANGELOG / "1")
    assert home.open(1).contained == -1


@pytest.mark.parametrize("told", ["", "{", "{}", "[]", json.dumps({"binding": None})])
def test_told_nonsense_it_is_built_anew(tmp_path: Path, told: str) -> None:
    """A file that says nothing of use counts as none."""
    home = rocksdb_home(tmp_path)
    fill(home)
    (tmp_path / CHANGELOG / "0" / "closed.json").write_text(told)
    states = home.open(0)
    assert (states.get(STATE[0]), states.contained) == (None, -1)


def test_damaged_it_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database that RocksDB cannot open is replaced by an empty one."""
    home = rocksdb_home(tmp_path)
    fill(home)
    [manifest] = (tmp_path / CHANGELOG / "0" / "states").glob("MANIFEST-*")
    manifest.write_bytes(b"no manifest")
    states = home.open(0)
    assert (states.get(STATE[0]), states.contained) == (None, -1)
    assert "cannot be opened" in caplog.text


def test_a_directory_has_one_worker(tmp_path: Path) -> None:
    """A second process ends with code 78 and says why; the first one's states are as they were."""
    home = rocksdb_home(tmp_path)
    fill(home)
    program = (
        "from pathlib import Path; from tests.agents.homes import rocksdb_home;"
        f"rocksdb_home(Path({str(tmp_path)!r})).open(0)"
    )
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert second.returncode == 78
    assert f"another process uses {tmp_path}" in second.stderr
    assert home.open(0).contained == 41


def test_a_directory_that_cannot_be_used_ends_the_worker(tmp_path: Path) -> None:
    """A path that is a file is told with code 78."""
    (tmp_path / "file").write_text("")
    program = (
        "from pathlib import Path; from tests.agents.homes import rocksdb_home;"
        f"rocksdb_home(Path({str(tmp_path / 'file')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "SYNCLINE_DATA_DIR cannot be used" in done.stderr) == (78, True)


def test_without_rocksdict_the_worker_says_what_to_install(tmp_path: Path) -> None:
    """The store is an extra; without it the worker ends with code 78 and names it."""
    program = (
        "import sys; sys.modules['rocksdict'] = None;"
        "from agents.app import build; from agents.settings import Settings;"
        f"build(Settings(store='rocksdb', data_dir={str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, "pip install 'syncline[rocksdb]'" in done.stderr) == (78, True)
