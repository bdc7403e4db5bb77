"""A short run of the fuzzers, and whether they would find something."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import strategies as st

from robench.errors import ContentError
from tests.fuzz.harness import Box, _peak_mb, by_hypothesis
from tests.fuzz.targets import TARGETS, Target
from tests.support.needs import needs_linux

pytestmark = needs_linux
INPUTS = {
    "record": 20,
    "stored-rows": 20,
    "entry-points": 20,
    "model-pattern": 60,
    "model-card": 60,
}
"""Of targets that take long for each."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hostile_inputs_are_accepted_or_refused_with_a_line(target: Target) -> None:
    box = Box(target, "hypothesis")
    by_hypothesis(box, INPUTS.get(target.name, 75), seed=1)
    assert not box.report.findings
    assert box.report.inputs == box.report.refused + box.report.accepted
    assert box.report.refused or target.name == "entry-points"


def starts_a_program(data: bytes, folder: Path) -> None:
    subprocess.run(["true"], check=False)


def runs_a_shell(data: bytes, folder: Path) -> None:
    os.system("true")


def hides_what_it_started(data: bytes, folder: Path) -> None:
    try:
        subprocess.run(["true"], check=False)
    except BaseException:
        raise ContentError("refused") from None


def reads_outside(data: bytes, folder: Path) -> None:
    Path("/etc/passwd").read_text()


def reads_through_a_link(data: bytes, folder: Path) -> None:
    (folder / "inside").symlink_to("/etc/passwd")
    (folder / "inside").read_text()


def writes_beside(data: bytes, folder: Path) -> None:
    (folder.parent / "fuzzed-beside").write_bytes(data)


def removes_outside(data: bytes, folder: Path) -> None:
    os.unlink("/nonexistent/file")  # noqa: PTH108


def raises(data: bytes, folder: Path) -> None:
    raise KeyError(data)


def hangs(data: bytes, folder: Path) -> None:
    time.sleep(60)


def takes_memory(data: bytes, folder: Path) -> None:
    more = int(_peak_mb() + 256) * 2**20  # than the process ever had
    bytearray(more)[:: 2**12] = bytes(more // 2**12)


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (starts_a_program, "subprocess.Popen"),
        (runs_a_shell, "os.system"),
        (hides_what_it_started, "subprocess.Popen"),
        (reads_outside, "open /etc/passwd"),
        (reads_through_a_link, "passwd"),
        (writes_beside, "fuzzed-beside"),
        (removes_outside, "os.remove"),
        (raises, "KeyError"),
        (hangs, "longer than"),
        (takes_memory, "MB"),
    ],
)
def test_what_no_input_may_do_is_found(
    monkeypatch: pytest.MonkeyPatch, read: object, finding: str
) -> None:
    monkeypatch.setattr("tests.fuzz.sandbox.SECONDS", 0.2 if read is hangs else 30)
    monkeypatch.setattr("tests.fuzz.harness.MEMORY", 100)
    box = Box(Target("bad", read, list, st.binary()), "none")  # type: ignore[arg-type]
    box.before = 10**6 if read is not takes_memory else box.before  # of other tests
    box.give(b"x")
    (found,) = box.report.findings
    assert finding in found
