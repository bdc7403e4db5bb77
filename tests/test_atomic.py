import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robench import atomic
from robench.atomic import remove_leftovers, replacing

LEAVE = """
import os, sys
from pathlib import Path
from robench.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os._exit(0)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def interrupted(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".tmp"
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_two_writers_of_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert one != two
    assert path.read_text() == "one"  # the block that ends last
    assert names(tmp_path) == ["file"]


def leave(path: Path) -> Path:
    """What a killed process leaves."""
    before = set(path.parent.iterdir())
    subprocess.run([sys.executable, "-c", LEAVE, str(path)], check=True)
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_only_what_nobody_writes_is_removed(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    left = leave(below / "file")
    (below / "notes.tmp").write_text("the user's own")
    old = time.time() - atomic.FORGOTTEN - 1
    os.utime(below / "notes.tmp", (old, old))
    with replacing(below / "new") as new:
        new.write_text("")
        os.utime(new, (time.time(), time.time() + 2 * atomic.FORGOTTEN))  # a clock that is ahead
        remove_leftovers(tmp_path)
        assert left.exists()  # not in the folder itself
        remove_leftovers(tmp_path, below=True)
        assert new.exists()
        assert not left.exists()
    assert names(below) == ["new", "notes.tmp"]


def test_without_locks_only_old_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
        remove_leftovers(tmp_path)
    assert (tmp_path / "file").read_text() == "new"
    left = leave(tmp_path / "other")
    remove_leftovers(tmp_path)
    assert left.exists()
    old = time.time() - atomic.FORGOTTEN - 1
    os.utime(left, (old, old))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["file"]


def test_a_file_that_was_taken_for_a_leftover_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.flock, iter(range(9))

    def late(file: int, operation: int) -> None:
        if next(calls) == 0:  # between creation and lock
            remove_leftovers(tmp_path)
        lock(file, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["file"]
