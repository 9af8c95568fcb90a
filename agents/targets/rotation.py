"""Files that are put aside: `out.jsonl` as `out-<time of its last line>.jsonl`, and that as `….jsonl.gz`."""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agents.targets.file_lock import file_lock

log = logging.getLogger(__name__)


def due(size: int, written_at: float, now: float, rotate_bytes: int | None, rotate_every: int | None) -> bool:
    """Whether a file of this size, last written to at that time, is put aside before the next write.

    written_at, now: seconds since the epoch. rotate_every: ms. An empty file is not put aside.
    """
    if size == 0:
        return False
    if rotate_bytes is not None and size >= rotate_bytes:
        return True
    return rotate_every is not None and written_at * 1000 // rotate_every != now * 1000 // rotate_every


def put_aside(path: Path) -> None:
    """Rename a file after the time of its last line; the names of all that were put aside sort by it."""
    moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    while True:
        aside = path.with_name(f"{path.stem}-{moment:%Y%m%dT%H%M%S.%fZ}{path.suffix}")
        if not aside.exists() and not compressed(aside).exists():
            break
        moment += timedelta(microseconds=1)
    path.rename(aside)
    sync_directory(path)


def put_aside_of(path: Path) -> list[Path]:
    """The files that were put aside and are not compressed, the oldest first; none of a file with a longer name."""
    name = re.compile(rf"{re.escape(path.stem)}-\d{{8}}T\d{{6}}\.\d{{6}}Z{re.escape(path.suffix)}")
    return sorted(one for one in path.parent.iterdir() if name.fullmatch(one.name))


def compressed(aside: Path) -> Path:
    """The name of such a file in gzip."""
    return aside.with_name(f"{aside.name}.gz")


def compress_all(path: Path) -> None:
    """Compress what was put aside; a file is removed when its compressed form is on disk. Raises nothing.

    What a crash has interrupted is done again.
    """
    try:
        with file_lock(f"{path}.gz.lock", 0):
            for aside in put_aside_of(path):
                compress(aside)
                aside.unlink()
    except TimeoutError:
        return  # another worker is at it
    except OSError as error:
        log.warning("%s: what was put aside is not compressed: %s", path, error.strerror)


def compress(aside: Path) -> None:
    """Write the compressed form, which has its name only when it is whole and on disk."""
    part = compressed(aside).with_suffix(".part")
    with aside.open("rb") as plain, part.open("wb") as file:
        with gzip.GzipFile(filename="", fileobj=file, mode="wb") as packed:
            shutil.copyfileobj(plain, packed, 1024 * 1024)
        file.flush()
        os.fsync(file.fileno())
    part.rename(compressed(aside))
    sync_directory(aside)


def sync_directory(path: Path) -> None:
    """Make the names in a file's directory last."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
