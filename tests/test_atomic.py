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


def test_two_who_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert one != two
    assert path.read_text() == "one"  # whoever ends last
    assert names(tmp_path) == ["file"]


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", LEAVE, str(below / "file")], check=True)
    (left,) = below.iterdir()
    (below / "notes.tmp").write_text("the user's own")
    living = left.with_name(left.name.replace(left.name.split("-")[-2], str(os.getppid())))
    living.write_text("half")
    elsewhere = left.with_name(left.name.replace(atomic._host(), "0" * 8))
    elsewhere.write_text("half")
    ours = left.with_name(left.name.replace(left.name.split("-")[-2], str(os.getpid())))
    ours.write_text("from a process that had our number")
    with replacing(below / "mine") as mine:
        mine.write_text("")
        remove_leftovers(tmp_path)
        assert left.exists()  # not in the folder itself
        remove_leftovers(tmp_path, below=True)
        assert mine.exists()
    assert not left.exists()
    assert not ours.exists()
    assert living.exists()
    assert elsewhere.exists()
    long_ago = time.time() - atomic.FORGOTTEN - 1
    os.utime(elsewhere, (long_ago, long_ago))
    remove_leftovers(below)
    assert not elsewhere.exists()
    assert names(below) == sorted(["mine", "notes.tmp", living.name])
