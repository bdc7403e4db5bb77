"""The checks of a model as a table, with advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap

import pandas as pd

from robench.checks import OF_MODELS, ModelCheck, with_plugins
from robench.results import Check, Verdict, worst_verdict
from robench.text import one_line, visible

COLUMNS = ("check", "value", "threshold", "verdict", "reason", "sees", "advice")
COLOURS: Mapping[Verdict, str] = {"valid": "32", "suspect": "33", "invalid": "31"}
"""ANSI codes: green, yellow, red."""


@dataclass(frozen=True)
class ModelChecks:
    """The checks of a model.

    Attributes:
        model: its id.
        checks: their records.
    """

    model: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The most severe one."""
        return worst_verdict(self.checks)

    def to_frame(self) -> pd.DataFrame:
        """One row for each check.

        Columns: check, value (the figure that was measured), threshold, verdict, reason, sees (what
        the check looks at), advice (what to do if it fails).
        """
        known = _known()
        records = []
        for check in self.checks:
            of = known.get(check.name)
            values = check.name, check.value, check.threshold, check.verdict, check.reason
            records.append((*values, of.sees if of else "", of.advice if of else ""))
        return pd.DataFrame(records, columns=list(COLUMNS))

    def text(self, *, colours: bool = False) -> str:
        """A line for each check, and the advice on those that fail.

        Args:
            colours: of the verdicts, for a terminal.
        """
        known = _known()
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{one_line(self.model)}: {_coloured(self.verdict, colours)}", ""]
        for check in self.checks:
            figure = f"{check.value:10.3g} of at most {check.threshold:<8.3g}"
            said = _coloured(check.verdict, colours)
            reason = one_line(check.reason)
            lines.append(f"{one_line(check.name):{width}} {figure} {said}  {reason}".rstrip())
            of = known.get(check.name)
            if of and check.verdict != "valid":
                lines += wrap(
                    visible(f"{of.sees} {of.advice}"),
                    92,
                    initial_indent="    ",
                    subsequent_indent="    ",
                )
        made = {check.name for check in self.checks}
        made |= {"deterministic"} if "draws" in made else set()
        if missing := [name for name in known if name not in made | {"draws"}]:
            text = "not made, as they do not apply or need 16 images: " + ", ".join(missing)
            lines += ["", *wrap(text, 96)]
            if "own-gradient" in missing:
                lines += wrap(
                    "spgd replaces the spikes or roundings; fgsm and pgd may have no gradient.", 96
                )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(index=False))


def _known() -> dict[str, ModelCheck]:
    """The checks by the names of their records."""
    known = {check.name: check for check in with_plugins(OF_MODELS, ModelCheck)}
    return known | {"draws": known["deterministic"]}  # that of a stochastic model


def _coloured(verdict: Verdict, colours: bool) -> str:
    text = f"{verdict:7}"
    return f"\x1b[{COLOURS[verdict]}m{text}\x1b[0m" if colours and verdict in COLOURS else text
