"""What a validation finds, and the rules by which it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from robench.errors import RobenchError
from robench.text import one_line

T = TypeVar("T")
Severity = Literal["error", "warning"]
AGAIN = "compute it again: remove it and repeat its robench run"
LONGEST = 300
"""Most characters of what is wrong."""


class Rule(NamedTuple):
    """The severity of what a rule finds, and what to do next."""

    severity: Severity
    advice: str


RULES = {
    "result-damaged": Rule("error", AGAIN),
    "result-misplaced": Rule("error", "move it back, or remove it"),
    "result-hash": Rule("error", AGAIN),
    "result-grid": Rule("error", AGAIN),
    "result-numbers": Rule("error", AGAIN),
    "result-verdict": Rule("error", AGAIN),
    "result-outdated": Rule("warning", "repeat its robench run for the numbers of today"),
    "rows-damaged": Rule("error", AGAIN),
    "rows-invalid": Rule("error", AGAIN),
    "rows-inconsistent": Rule("error", AGAIN),
    "examples-damaged": Rule("error", "repeat the run with --keep-examples"),
    "examples-samples": Rule("error", "repeat the run with --keep-examples --force"),
    "examples-shape": Rule("error", "repeat the run with --keep-examples --force"),
    "examples-outside-box": Rule("error", "repeat the run with --keep-examples --force"),
    "examples-outside-ball": Rule("error", "repeat the run with --keep-examples --force"),
    "analysis-damaged": Rule("error", "remove it and repeat its robench analyze"),
    "analysis-misplaced": Rule("error", "move it back, or remove it"),
    "analysis-outdated": Rule("warning", "repeat its robench analyze for the model of today"),
    "leftover-chunks": Rule("warning", "repeat the interrupted run, or remove the folder"),
    "leftover-rows": Rule("warning", "repeat the interrupted run, or remove the file"),
    "leftover-temporary": Rule("warning", "remove it, unless robench is running"),
    "model-id": Rule("error", "rename the folder"),
    "card-damaged": Rule("error", "correct the card, or train the model again"),
    "weights-missing": Rule("error", "restore the file, or train the model again"),
    "weights-damaged": Rule("error", "restore the file, or train the model again"),
    "recipe-damaged": Rule("error", "correct the recipe"),
    "recipe-differs": Rule("error", "restore the recipe, or train the model again"),
    "log-damaged": Rule("error", "restore the log, or train the model again"),
    "attack-damaged": Rule("error", "correct the card"),
    "page-stale": Rule("error", "make it again with: robench leaderboard"),
    "figure-missing": Rule("error", "make it again with: robench leaderboard"),
}
"""Every rule by its id: the kind of file, and what is wrong with it."""


@dataclass(frozen=True)
class Finding:
    """A file that a rule objects to, and what is wrong with it."""

    rule: str
    path: Path
    what: str

    @property
    def severity(self) -> Severity:
        """``error``, or ``warning`` if no number is wrong."""
        return RULES[self.rule].severity

    @property
    def data(self) -> dict[str, str]:
        """As plain data, with severity and advice."""
        facts = {"path": str(self.path), "severity": self.severity}
        return asdict(self) | facts | {"advice": RULES[self.rule].advice}

    def __str__(self) -> str:
        what, advice = one_line(self.what, LONGEST), RULES[self.rule].advice
        return f"{self.severity} {self.rule}: {one_line(self.path)}: {what}; {advice}"


def attempt(rule: str, path: Path, read: Callable[[], T]) -> T | Finding:
    """What a function returns, or its error as a finding.

    Any exception is one: the libraries that read a damaged file may raise anything.
    """
    try:
        return read()
    except RobenchError as error:
        text = str(error)
        for name in (path, path.absolute()):
            text = text.removeprefix(f"{name}: ")
        return Finding(rule, path, text)
    except Exception as error:
        return Finding(rule, path, f"{type(error).__name__}: {error}")


def fault(rule: str, path: Path, check: Callable[[], str]) -> list[Finding]:
    """The finding of a function that returns what is wrong; none if the text is empty."""
    found = attempt(rule, path, check)
    if isinstance(found, Finding):
        return [found]
    return [Finding(rule, path, found)] if found else []
