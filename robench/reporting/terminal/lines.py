"""Results as lines: the number that papers quote, the AUC, the verdict, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from robench.reporting.between import Comparisons, verdict_of
from robench.results import CellResult, Check, Outcome
from robench.text import one_line

WIDTH = 100
"""Most columns of a line, but for names that are longer."""
_PAGE = "docs/checks.md"


def heading(result: CellResult) -> list[str]:
    """The lines above the results of a model: clean accuracy, images, and what spikes."""
    if (outcome := result.outcome) is None:
        return [result.model]
    samples = outcome.identity.samples
    parts = [f"clean {outcome.clean_accuracy:.1%} of {samples} images of {result.dataset}"]
    spikes = [outcome.spikes] if outcome.spikes else []
    text = f"{result.model}  " + "; ".join([*parts, *spikes])
    return wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def result_line(result: CellResult, checks: Sequence[Check] = (), took: str = "") -> str:
    """A cell on one line, below its :func:`heading`.

    It begins with the robust accuracy at the ε that is quoted, with its 95 % interval.

    Args:
        result: of the cell.
        checks: those that compare it with other cells.
        took: the time, or that it is kept.
    """
    if (outcome := result.outcome) is None:
        reason = one_line(result.reason)
        return f"  {result.attack}  {result.status}: {reason}"
    point, (verdict, _) = outcome.limit, verdict_of(outcome, checks)
    bound = "≤" if verdict == "invalid" else " "
    low, high = 100 * point.interval.low, 100 * point.interval.high
    number = f"{bound}{point.accuracy:6.1%} {f'[{low:.1f}, {high:.1f}]':13}"
    parts = [f"{number} at {point.epsilon.text}"]
    areas = [f"AUC {bound}{area:.3f}" for area in outcome.areas.values()]
    parts.append(areas[0] if areas else " " * len("AUC  0.123"))
    parts += [f"{verdict:9}", result.attack, took]
    return f"  {'  '.join(parts)}".rstrip()


def all_lines(
    cells: Sequence[CellResult], compared: Comparisons, *, hashes: bool = False
) -> Iterator[str]:
    """Results below the heading of their model, each with its reasons, or with its hash instead."""
    above = ""
    for cell in cells:
        if cell.model != above:
            above = cell.model
            yield from heading(cell)
        checks = compared.get(cell.hash, ())
        yield result_line(cell, checks, cell.hash[:8] if hashes else "")
        if cell.outcome is not None and not hashes:
            yield from reason_lines(cell.outcome, checks)


def reason_lines(outcome: Outcome, checks: Sequence[Check] = ()) -> Iterator[str]:
    """Why a verdict is not valid, and what to do: a paragraph for each check that failed."""
    for check in (*outcome.checks, *checks):
        if check.reason:
            yield from check_lines(check)


def check_lines(check: Check) -> list[str]:
    """A check that failed, with advice."""
    from robench import checks  # which need torch

    advice = checks.advice_on(check.name)
    text = f"{check.reason}: {advice}" if advice else check.reason
    indent = " " * 6
    return wrap(
        one_line(f"{text} ({_PAGE}, {check.name})"), WIDTH,
        initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False,
    )  # fmt: skip
