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


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", LEAVE, str(below / "file")], check=True)
    (left,) = below.iterdir()
    (below / "notes.tmp").write_text("the user's own")
    old = time.time() - atomic.FORGOTTEN - 1
    os.utime(below / "notes.tmp", (old, old))
    with replacing(below / "new") as new:
        new.write_text("")
        remove_leftovers(tmp_path, below=True)
        assert left.exists()  # it may belong to a running process
        os.utime(left, (old, old))
        remove_leftovers(tmp_path)
        assert left.exists()  # not in the folder itself
        remove_leftovers(tmp_path, below=True)
        assert new.exists()
    assert names(below) == ["new", "notes.tmp"]
