"""Ctrl-C or SIGTERM at any time: exit code 130 or 143, and one line."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.interrupts import interruptible
from tests.support.needs import needs_linux

pytestmark = [needs_linux, pytest.mark.usefixtures("interruptible")]
__all__ = ["interruptible"]
RUN = """
import os, signal, sys
import robench.cli.interrupts
{early}
sys.argv = ["robench", *{arguments!r}]
from robench.cli import main
main()
"""
IN_IMPORT = """
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.{number})
sys.meta_path.insert(0, Interrupting())
"""


def run_in_python(early: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = RUN.format(early=early, arguments=arguments)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def interrupted(code: int, err: str, number: str = "SIGINT") -> None:
    expected, what = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated")}[number]
    assert code == expected, err
    (line,) = err.splitlines()
    assert line.startswith(f"robench: {what}")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("typer", "SIGINT"),
        ("numpy", "SIGTERM"),
        ("numpy._core.multiarray", "SIGINT"),
        ("torch._C", "SIGTERM"),
    ],
)
def test_an_interrupt_during_an_import(name: str, number: str, tmp_path: Path) -> None:
    arguments = ("run", "--models", "digits/vgg16-ann", "--attacks", "fgsm", "--limit", "2")
    done = run_in_python(
        IN_IMPORT.format(name=name, number=number), *arguments, "--output", str(tmp_path / "out")
    )
    interrupted(done.returncode, done.stderr, number)
    assert len(done.stdout.splitlines()) <= 1  # where results go
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_an_interrupt_in_an_import_that_takes_for_ever(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(100)\n"
    )
    early = "robench.cli.interrupts.PATIENCE = 0.2"
    done = run_in_python(early, "check", f"{tmp_path}/slow.py:make", "--dataset", "digits")
    interrupted(done.returncode, done.stderr)


@pytest.mark.parametrize("command", [["list", "models"], ["run", "--dry-run"]])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_interrupt_at_any_time_gives_no_traceback(
    tmp_path: Path, command: list[str], seed: int
) -> None:
    script = (
        "import robench.cli, sys\n"
        "print(flush=True)\n"  # before that, an interrupt is Python's own matter
        f"sys.argv = ['robench', *{command!r}]\n"
        "robench.cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.02 + random.Random(seed).random() * 0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1
    # 0: it was done before; the signal: Python was ending, and had no handler any more
    assert process.returncode in (0, 130, -signal.SIGINT), err


def test_an_ignored_interrupt_stays_ignored() -> None:
    early = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from robench.cli.interrupts import defer_in_imports\n"
        "defer_in_imports()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    done = run_in_python(early, "--version")
    assert (done.returncode, done.stderr) == (0, "")
