"""The parts of a report: tables with their rows, and the runs outside the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from robench.datasets import Dataset
from robench.epsilon import NORMS, Epsilon
from robench.results import CurvePoint, Damaged, Identity, Interval, Thoroughness, Verdict

PUBLISHED, YOURS = "published", "yours"
NORM = "linf"
"""The norm of a data set's first table; the tables of other norms follow."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Interval) -> Self:
        """A number with an interval that was computed apart."""
        return cls(value, interval.low, interval.high)


@dataclass(frozen=True)
class Entry:
    """The result of one attack on one model.

    Attributes:
        attack: the attack's name.
        verdict: of the stored checks and of those that compare cells.
        reasons: why it is not valid, as short identifiers.
        auc: up to the first limit; no more than an upper bound if the verdict is invalid.
        curve: robust accuracy at each ε.
        hash: of the cell.
        converged: whether twice the steps find little more; None if they were not tried.
    """

    attack: str
    verdict: Verdict
    reasons: tuple[str, ...]
    auc: Estimate
    curve: tuple[CurvePoint, ...]
    hash: str
    converged: bool | None = None


@dataclass(frozen=True)
class AtHeadline:
    """The result of one attack on one model at the headline ε alone.

    Attributes:
        attack: the attack's name.
        verdict: as in :class:`Entry`.
        reasons: as in :class:`Entry`.
        accuracy: robust accuracy; no more than an upper bound if the verdict is invalid.
        hash: of the cell.
    """

    attack: str
    verdict: Verdict
    reasons: tuple[str, ...]
    accuracy: Estimate
    hash: str

    @classmethod
    def of(
        cls,
        attack: str,
        verdict: tuple[Verdict, tuple[str, ...]],
        curve: Sequence[CurvePoint],
        digest: str,
    ) -> Self:
        """That of a cell whose curve ends at the headline ε, with its verdict and reasons."""
        accuracy = Estimate.of(curve[-1].accuracy, curve[-1].interval)
        return cls(attack, *verdict, accuracy, digest)


@dataclass(frozen=True)
class Work:
    """What a clean inference takes, as ``robench analyze energy`` measured it.

    Attributes:
        spikes: None without spiking neurons.
        synops: effective synaptic operations, MACs and ACs.
        energy_pj: of these operations, in pJ.
        images: number of images that were measured.
    """

    spikes: Estimate | None
    synops: Estimate
    energy_pj: Estimate
    images: int


@dataclass(frozen=True)
class Row:
    """A model under one seed.

    Attributes:
        rank: by ``worst_auc``; None for a control, or if an attack is missing.
        family: the architecture, e.g. ``flex-vgg16``.
        mode: ann, hybrid or stbp; ``spiking`` for a network that spikes and does not declare it.
        fingerprint: of the network.
        timesteps: T, None without time.
        entries: by attack.
        not_applicable: attacks whose needs the model does not meet.
        missing: attacks of the table without a comparable cell, except the baseline and
            ``not_needed``.
        registered: whether ``robench list models`` shows the model.
        worst_auc: of the minimum over the entries for each sample, up to the first limit.
        worst_accuracy: at the headline ε, of the minimum over the entries and ``at_headline``.
        worst_curve: of the minimum over the entries.
        auc_verdict: of ``worst_auc``: that of the strongest entry, from which most of it comes, as
            long as one entry is not invalid.
        accuracy_verdict: the same of ``worst_accuracy``.
        work: None if it was not measured for these weights.
        origin: ``published`` or ``yours`` where both are in one report, else empty.
        differs: of a row of other runs beside those under the protocol: how they differ.
        at_headline: results at the headline ε alone, by attack.
        missing_at_headline: attacks that other rows of the table have there, except the baseline.
        not_needed: longer attacks that other rows have, where the shorter one has converged.
    """

    rank: int | None
    model: str
    family: str
    mode: str
    fingerprint: str
    timesteps: int | None
    seed: int
    control: bool
    clean: Estimate
    entries: Mapping[str, Entry]
    not_applicable: tuple[str, ...]
    missing: tuple[str, ...]
    registered: bool
    worst_auc: Estimate
    worst_accuracy: Estimate
    worst_curve: tuple[CurvePoint, ...]
    auc_verdict: Verdict
    accuracy_verdict: Verdict
    work: Work | None = None
    origin: str = ""
    differs: tuple[str, ...] = ()
    at_headline: Mapping[str, AtHeadline] = field(default_factory=dict)
    missing_at_headline: tuple[str, ...] = ()
    not_needed: tuple[str, ...] = ()

    @property
    def results(self) -> list[Entry | AtHeadline]:
        """All of them."""
        return [*self.entries.values(), *self.at_headline.values()]

    @property
    def published(self) -> bool:
        """Whether it is a published row beside those of a user."""
        return self.origin == PUBLISHED

    @property
    def run(self) -> str:
        """Whose run it is, and how it differs from the protocol."""
        return "; ".join(filter(None, [self.origin, *self.differs]))

    @property
    def caught(self) -> bool:
        """Whether a check caught the model."""
        return any(entry.verdict == "invalid" for entry in self.results)


@dataclass(frozen=True)
class Table:
    """The comparable results on a data set in one norm.

    Attributes:
        attacks: the columns.
        settings: for each attack the identity of one of its cells; all of its cells have the same
            implementation, version and parameters.
        data_sha256: of the images and labels of all cells.
        reverified: share of adversarial examples that are misclassified again in another batch;
            the lowest over the cells, without controls.
        checked: the least thorough checks of a cell, without controls.
        rows: best first.
        controls: models that exist to be caught.
        grid: the ε of all cells, from 0.
        headline: the ε at which accuracies are quoted; that of the protocol, if the grid has it.
        limit: the upper limit of the AUC; that of the protocol, if the grid has it.
        norm: of all attacks.
        differs: how the runs differ from the data set's protocol; empty if they do not.
        older: whether newer runs take their place.
        number: of the table among those with differences, from 1.
        at_headline: as ``settings``, of the attacks that were run at the headline ε alone.
    """

    dataset: Dataset
    attacks: tuple[str, ...]
    settings: Mapping[str, Identity]
    data_sha256: str
    reverified: float
    checked: Thoroughness
    rows: tuple[Row, ...]
    controls: tuple[Row, ...]
    grid: tuple[Epsilon, ...]
    headline: Epsilon
    limit: Epsilon
    norm: str = NORM
    differs: tuple[str, ...] = ()
    older: bool = False
    number: int = 0
    at_headline: Mapping[str, Identity] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The title of the data set, with the norm if it is not the first."""
        title = self.dataset.title
        title = title if self.norm == NORM else f"{title}, {NORMS[self.norm]}"
        if not self.differs:
            return title
        return f"{title}, other runs" + (f" {self.number}" if self.number > 1 else "")

    @property
    def name(self) -> str:
        """The name of the table in file names."""
        name = self.dataset.name if self.norm == NORM else f"{self.dataset.name}-{self.norm}"
        if not self.differs:
            return name
        return f"{name}-other" + (f"-{self.number}" if self.number > 1 else "")

    @property
    def mixed(self) -> bool:
        """Whether rows of several origins, or under several conditions, stand beside each other."""
        return any(row.run for row in self.rows)

    @property
    def samples(self) -> int:
        """The number of images."""
        return next(iter(self.settings.values())).samples


@dataclass(frozen=True)
class OtherRun:
    """A cell without a row in a table, and why."""

    model: str
    attack: str
    dataset: str
    hash: str
    status: str
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The contents of a store as tables.

    Attributes:
        tables: for each data set and norm one of the runs under the protocol, followed by those of
            other runs; the embedded digits last.
        others: cells without a result.
        damaged: files that are not believed.
        older: number of cells of older runs.
    """

    tables: tuple[Table, ...]
    others: tuple[OtherRun, ...]
    damaged: tuple[Damaged, ...]
    older: int = 0

    def newest(self) -> Report:
        """The report without older runs and without cells that have no result."""
        return Report(
            tuple(table for table in self.tables if not table.older), (), self.damaged, self.older
        )


def verdict_text(verdict: str, reasons: Sequence[str]) -> str:
    """A verdict with its reasons, e.g. ``invalid (gradient-unavailable)``."""
    return f"{verdict} ({', '.join(reasons)})" if reasons else verdict


def row_verdict(row: Row) -> str:
    """``valid`` if all cells are; else the cells that are not, and those that are missing."""
    parts = [
        f"{entry.attack} {verdict_text(entry.verdict, entry.reasons)}"
        for entry in row.results
        if entry.verdict != "valid"
    ]
    parts += [f"{attack} not applicable" for attack in row.not_applicable]
    parts += [f"{attack} missing" for attack in row.missing]
    parts += [f"{attack} missing at the headline ε" for attack in row.missing_at_headline]
    return "; ".join(parts) or "valid"
