"""A run that is disturbed: the command, its undisturbed result, and what must hold afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import psutil
import torch

import robench.cli
import robench.evaluation.chunks
import robench.reporting  # imported here, so that no child has to
from robench.datasets import DIGITS
from robench.results import ResultStore
from tests.support.small_models import SMALL_MODELS

COMMAND = (
    "run", "--models", "smallmodels:small", "--limit", "30", "--eps", "8/255,16/255,32/255",
    "--attacks", "fgsm,pgd[steps=4],noise",
)  # fmt: skip
CELLS = 3
LONGEST = 300.0
"""Seconds after which a run hangs."""


def content(folder: Path) -> dict[str, object]:
    """What the cells of a folder say, up to the rounding of another batch size."""
    store = ResultStore(folder)
    cells, damaged = store.cells()
    found: dict[str, object] = {str(path.path): path.reason for path in damaged}
    for cell in cells:
        if cell.outcome is None:
            found[cell.hash] = cell.status
            continue
        facts = cell.outcome.model_dump(mode="json", exclude={"checks"})
        verdicts = [(check.name, check.verdict, check.reason) for check in cell.outcome.checks]
        found[cell.hash] = facts, verdicts, store.rows(cell).round(5).to_csv()
    return found


_INTERRUPT = {signal.SIGINT}


@dataclass
class Scene:
    """A folder with a model, in which runs are disturbed.

    Attributes:
        folder: of everything.
        expected: the content of the undisturbed result.
        problems: what did not hold.
    """

    folder: Path
    expected: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def prepare(cls, folder: Path) -> Scene:
        """Import everything and compute the undisturbed result."""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also in the background
        (folder / "smallmodels.py").write_text(SMALL_MODELS, "utf-8")
        os.chdir(folder)
        torch.set_num_threads(1)
        DIGITS.load("train"), DIGITS.load("test")
        sys.path.insert(0, str(folder))
        import smallmodels

        robench.evaluate(smallmodels.small(), "pgd[steps=4]", limit=4)  # imports what a run needs
        robench.evaluation.chunks.CHUNK = 10  # three chunks in each cell
        scene = cls(folder)
        code = scene.run(folder / "undisturbed")
        assert code == 0, code
        scene.expected = content(folder / "undisturbed")
        assert len(scene.expected) == CELLS
        return scene

    def start(self, output: Path, *more: str, prepare: Callable[[], object] = lambda: None) -> int:
        """Start the run in a copy of this process; returns its number.

        Args:
            output: the folder of the results.
            more: arguments that follow those of the command.
            prepare: called in the copy before the run, to disturb it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPT)  # until the copy is robench
        child = os.fork()
        if child == 0:
            self._be_robench([*COMMAND, "--output", str(output), *more], prepare)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPT)
        return child

    def _be_robench(self, arguments: Sequence[str], prepare: Callable[[], object]) -> NoReturn:
        code = 99
        try:
            with (self.folder / "log").open("a") as log:
                os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
            sys.argv = ["robench", *arguments]
            prepare()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPT)
            robench.cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 98
        except KeyboardInterrupt:  # which was waiting
            code = 130
        finally:
            os._exit(code)

    def run(self, output: Path, *more: str, prepare: Callable[[], object] = lambda: None) -> int:
        """The exit code of such a run."""
        return self.end(self.start(output, *more, prepare=prepare))

    def end(self, child: int) -> int:
        """The exit code of a child, or the negative number of the signal that ended it."""
        limit = time.monotonic() + LONGEST
        while time.monotonic() < limit:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self.problems.append("a run hangs")
        return -signal.SIGKILL

    def command(self, output: Path, *more: str) -> subprocess.Popen[str]:
        """The run as a user starts it, in a group of its own; it has one chunk for each cell."""
        path = os.pathsep.join([str(self.folder), *sys.path])
        return subprocess.Popen(
            [sys.executable, "-m", "robench", *COMMAND, "--output", str(output), *more],
            cwd=self.folder, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def finished(self, output: Path) -> dict[Path, int]:
        """The records of cells that are done, with the time of their last change."""
        cells, _ = ResultStore(output).cells()
        store = ResultStore(output)
        paths = [store.path(c.model, c.attack, c.hash) for c in cells if c.status == "done"]
        return {path: path.stat().st_mtime_ns for path in paths}

    def settle(self, output: Path, kept: dict[Path, int]) -> None:
        """Run again until all is done, and note what does not hold.

        Args:
            output: the folder of the results.
            kept: the cells that were finished and must not be computed again.
        """
        codes = []
        while not codes or (codes[-1] != 0 and len(codes) < 3):
            codes.append(self.run(output))
        if codes != [0]:
            self.problems.append(f"the same command again ended with {codes}")
        for path, changed in kept.items():
            if not path.exists():
                self.problems.append(f"{path.name} is lost")
            elif path.stat().st_mtime_ns != changed:
                self.problems.append(f"{path.name} was computed again")
        if content(output) != self.expected:
            self.problems.append("the result is another one")
        for pattern in ("*.chunks", "*.tmp", ".*.tmp"):
            left = sorted(path.name for path in output.rglob(pattern))
            if left:
                self.problems.append(f"left over: {', '.join(left)}")

    def orphans(self, known: set[int]) -> None:
        """Note child processes that are not known, and end them."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.pid not in known and process.status() != psutil.STATUS_ZOMBIE:
                    self.problems.append(f"orphan: {' '.join(process.cmdline())[:80]}")
                    process.kill()
