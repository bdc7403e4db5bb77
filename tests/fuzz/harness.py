"""Hostile input for every reader of robench: each input is accepted, or refused with one line.

``python -m tests.fuzz.harness`` gives each target inputs of hypothesis and, where it is installed,
of the coverage-guided fuzzer atheris, in a process of its own whose memory is limited.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz.sandbox import ROOT, SECONDS, Escape, alarm, watched

MEMORY = 512
"""MB that the inputs of a target may take in all, at their peak."""
LONGEST = 2000
"""Most characters of a refusal."""


@dataclass
class Report:
    """What the inputs of one target led to."""

    target: str
    fuzzer: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    findings: list[str] = field(default_factory=list)


class Box:
    """Gives inputs to a target, in a folder of their own, and watches what it does."""

    def __init__(self, target: Any, fuzzer: str, findings: Path | None = None) -> None:
        self.target = target
        self.report = Report(target.name, fuzzer)
        self.findings = findings
        for known in target.seeds():  # what is imported and built at first use is not the input's
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, suppress(Exception):
                target.read(known, Path(folder))
        self.before = _peak_mb()

    def give(self, data: bytes) -> None:
        """Give the target one input; a finding is kept."""
        report, started = self.report, time.monotonic()
        report.inputs += 1
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            problem = self._problem(data, Path(folder))
        report.seconds += time.monotonic() - started
        report.peak_mb = max(report.peak_mb, _peak_mb() - self.before)
        if not problem and report.peak_mb > MEMORY:
            problem, self.before = f"{report.peak_mb:.0f} MB", _peak_mb()
        if problem:
            report.findings.append(f"{problem}: {self._kept(data)}")

    def _problem(self, data: bytes, folder: Path) -> str:
        from robench.errors import RobenchError
        from robench.text import visible

        try:
            with watched(folder) as seen, alarm():
                self.target.read(data, folder)
        except RobenchError as error:
            self.report.refused += 1
            text = str(error)
            if len(text.splitlines()) != 1 or len(text) > LONGEST or visible(text) != text:
                return f"not one line: {text[:200]!r}"
        except (Escape, Exception) as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        else:
            self.report.accepted += 1
        return next(iter(seen), "")

    def _kept(self, data: bytes) -> str:
        """The input, or the file where it is kept."""
        if self.findings is None:
            return repr(data[:300])
        self.findings.mkdir(parents=True, exist_ok=True)
        path = self.findings / f"{self.target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        return str(path)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def by_hypothesis(box: Box, inputs: int, seed: int) -> None:
    """Give a target inputs of its strategy."""
    import hypothesis

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=inputs, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(box.target.inputs)
    def give(data: bytes) -> None:
        box.give(data)

    for known in box.target.seeds():
        box.give(known)
    give()


def by_atheris(box: Box, inputs: int, seed: int, output: Path) -> None:
    """Give a target inputs that reach new code; ends the process."""
    import atheris

    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        for number, known in enumerate(box.target.seeds()):
            Path(corpus, str(number)).write_bytes(known)

        def give(data: bytes) -> None:
            box.give(data)
            if box.report.inputs >= inputs:
                output.write_text(json.dumps(asdict(box.report)))
                sys.stdout.flush()
                os._exit(0)

        options = [f"-runs={inputs * 2}", f"-seed={seed + 1}", "-max_len=65536", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, corpus], give)
        atheris.Fuzz()


def work(name: str, fuzzer: str, inputs: int, seed: int, output: Path) -> None:
    """Fuzz one target in this process and write its report."""
    faulthandler.dump_traceback_later(inputs * SECONDS, exit=True)
    if fuzzer == "atheris":
        import atheris

        with atheris.instrument_imports(include=["robench", "tomllib", "PIL"]):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    (target,) = (target for target in TARGETS if target.name == name)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    box = Box(target, fuzzer, output.parent / "findings")
    resource.setrlimit(resource.RLIMIT_AS, (now + 4 * MEMORY * 2**20,) * 2)
    if fuzzer == "atheris":
        by_atheris(box, inputs, seed, output)
    by_hypothesis(box, inputs, seed)
    output.write_text(json.dumps(asdict(box.report)))


def table(reports: list[Report]) -> str:
    """The reports as a table in Markdown."""
    lines = [
        "| target | fuzzer | inputs | refused | accepted | seconds | peak MB | findings |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    total = Report("all", "")
    for report in reports:
        for name in ("inputs", "refused", "accepted", "seconds"):
            setattr(total, name, getattr(total, name) + getattr(report, name))
        total.peak_mb = max(total.peak_mb, report.peak_mb)
        total.findings += report.findings
    for each in [*reports, total]:
        lines.append(
            f"| {each.target} | {each.fuzzer} | {each.inputs} | {each.refused} | {each.accepted} | "
            f"{each.seconds:.1f} | {each.peak_mb:.0f} | {len(each.findings)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Fuzz all targets; exit code 1 for a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("out/fuzz"), help="folder")
    parser.add_argument("--targets", help="names with commas; all by default")
    parser.add_argument("--work", nargs=2, metavar=("TARGET", "FUZZER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(*given.work, given.inputs, given.seed, given.output)
        return
    from tests.fuzz.targets import TARGETS

    named = given.targets.split(",") if given.targets else [target.name for target in TARGETS]
    fuzzers = ["hypothesis", *(["atheris"] if find_spec("atheris") else [])]
    each = -(-given.inputs // (len(named) * len(fuzzers)))
    given.output.mkdir(parents=True, exist_ok=True)
    reports = [
        _in_process(name, fuzzer, each, given.seed, given.output)
        for name in named
        for fuzzer in fuzzers
    ]
    text = table(reports)
    (given.output / "fuzz.json").write_text(
        json.dumps([asdict(r) for r in reports], indent=1) + "\n"
    )
    (given.output / "fuzz.md").write_text(text + "\n")
    print(text)
    findings = [f"{r.target} ({r.fuzzer}): {found}" for r in reports for found in r.findings]
    print("\n".join(findings[:100]))
    sys.exit(1 if findings else 0)


def _in_process(name: str, fuzzer: str, inputs: int, seed: int, output: Path) -> Report:
    """The report of a process that fuzzes one target."""
    path = output.absolute() / f"{name}-{fuzzer}.json"
    path.unlink(missing_ok=True)
    options = {"--inputs": inputs, "--seed": seed, "--output": path}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.harness", "--work", name, fuzzer),
            *(str(word) for option in options.items() for word in option),
        ],
        cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if not path.exists():  # the process ended: a crash of a library, or no memory
        last = " / ".join((done.stderr or done.stdout).splitlines()[-8:])
        return Report(name, fuzzer, findings=[f"the process ended with {done.returncode}: {last}"])
    return Report(**json.loads(path.read_text()))


if __name__ == "__main__":
    main()
