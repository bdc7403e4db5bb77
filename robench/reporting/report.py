"""What a report consists of: tables with their rows, and the runs that no table shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robench.attacks.primitives.norms import NORMS
from robench.datasets import Dataset
from robench.epsilon import Epsilon, parse_grid
from robench.results import CurvePoint, Damaged, Identity, Verdict

NORM = "linf"
"""The norm of a data set's first table; each other norm has a table of its own behind it."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """What one attack says about one model.

    Attributes:
        attack: the attack's name.
        verdict: of the stored checks and of those that compare cells.
        reasons: why it is not valid, short identifiers.
        auc: up to the first limit; None where the verdict withholds it.
        curve: robust accuracy at each ε.
        hash: of the cell.
    """

    attack: str
    verdict: Verdict
    reasons: tuple[str, ...]
    auc: Estimate | None
    curve: tuple[CurvePoint, ...]
    hash: str


@dataclass(frozen=True)
class Row:
    """A model under one seed.

    Attributes:
        rank: by the AUC of ``worst``; None for a control and where an attack is missing.
        family: the architecture, e.g. ``flex-vgg16``.
        timesteps: T, None without time.
        entries: by attack.
        not_applicable: attacks whose needs the model does not meet.
        missing: attacks of the table, the baseline aside, without a comparable cell.
        worst_auc: of the per-sample minimum over the entries, up to the first limit.
        worst_accuracy: at the headline ε.
        worst_curve: of the per-sample minimum.
    """

    rank: int | None
    model: str
    family: str
    mode: str
    timesteps: int | None
    seed: int
    control: bool
    clean: Estimate
    entries: Mapping[str, Entry]
    not_applicable: tuple[str, ...]
    missing: tuple[str, ...]
    worst_auc: Estimate
    worst_accuracy: Estimate
    worst_curve: tuple[CurvePoint, ...]

    @property
    def caught(self) -> bool:
        """Whether some check found the model out."""
        return any(entry.verdict == "invalid" for entry in self.entries.values())


@dataclass(frozen=True)
class Table:
    """The comparable results on a data set in one norm.

    Attributes:
        attacks: the columns.
        settings: for each attack the identity of one of its cells; all of them agree on
            implementation, version and parameters.
        data_sha256: of the images and labels that all cells saw.
        reverified: the lowest share, over the cells without the controls', of adversarial images
            that break their model again in another batch.
        rows: best first.
        controls: models that exist to be caught.
        norm: that all of its attacks are measured in.
    """

    dataset: Dataset
    attacks: tuple[str, ...]
    settings: Mapping[str, Identity]
    data_sha256: str
    reverified: float
    rows: tuple[Row, ...]
    controls: tuple[Row, ...]
    norm: str = NORM

    @property
    def title(self) -> str:
        """The data set's, with the norm where it is not the first."""
        title = self.dataset.title
        return title if self.norm == NORM else f"{title}, {NORMS[self.norm]}"

    @property
    def name(self) -> str:
        """The same for file names."""
        return self.dataset.name if self.norm == NORM else f"{self.dataset.name}-{self.norm}"

    @property
    def grid(self) -> tuple[Epsilon, ...]:
        """The ε of the protocol, 0 first."""
        return protocol_grid(self.dataset, self.norm)

    @property
    def headline(self) -> str:
        """The ε at which accuracies are quoted."""
        return self.dataset.protocol.headline[self.norm]

    @property
    def limit(self) -> str:
        """The ε up to which the area is taken."""
        return self.dataset.protocol.auc_limits[self.norm][0]


@dataclass(frozen=True)
class OtherRun:
    """A cell that no table shows, and what sets it apart."""

    model: str
    attack: str
    dataset: str
    hash: str
    status: str
    verdict: str
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that a store has to say.

    Attributes:
        tables: one for each data set and norm, the embedded digits last.
        others: cells outside the tables.
        damaged: files that cannot be read.
    """

    tables: tuple[Table, ...]
    others: tuple[OtherRun, ...]
    damaged: tuple[Damaged, ...]


def protocol_grid(dataset: Dataset, norm: str) -> tuple[Epsilon, ...]:
    """The ε of a data set's protocol, 0 first."""
    return parse_grid(dataset.protocol.grids[norm])


def verdict_text(verdict: str, reasons: Sequence[str]) -> str:
    """A verdict with its reasons, e.g. ``invalid (gradient-unavailable)``."""
    return f"{verdict} ({', '.join(reasons)})" if reasons else verdict


def row_verdict(row: Row) -> str:
    """``valid`` where all cells are, else those that are not, and what is missing."""
    parts = [
        f"{entry.attack} {verdict_text(entry.verdict, entry.reasons)}"
        for entry in row.entries.values()
        if entry.verdict != "valid"
    ]
    parts += [f"{attack} not applicable" for attack in row.not_applicable]
    parts += [f"{attack} missing" for attack in row.missing]
    return "; ".join(parts) or "valid"
