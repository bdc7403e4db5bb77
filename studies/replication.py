"""BioFlexNet's published areas on MNIST beside ours on the same grid of ε."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from robench.checks import compared
from robench.datasets import MNIST
from robench.epsilon import Epsilon
from robench.evaluation import find_grid
from robench.reporting import Estimate
from robench.reporting.between import mode_of, to_compare, verdict_of
from robench.reporting.comparable import Candidate, Listed, choose_sound, differences
from robench.reporting.leaderboard import decimal, escape_markdown
from robench.reporting.report import NORM, verdict_text
from robench.reporting.rows import auc_of
from robench.results import Check, Damaged, ResultStore
from studies.pages import markdown_table, page

GRID = "bioflexnet"
ATTACKS = ("fgsm", "pgd", "spgd")
LITERAL = {"pgd": "pgd-bioflexnet", "spgd": "spgd-bioflexnet"}
"""Our attacks with the settings of the source's code."""


@dataclass(frozen=True)
class Published:
    """A network of the source.

    Attributes:
        name: as the figure calls it.
        model: our counterpart's id.
        areas: under FGSM, PGD and SPGD.
    """

    name: str
    model: str
    areas: tuple[float, float, float]


PUBLISHED = (
    Published("ANN", "mnist/vgg16-ann", (0.4598, 0.3995, 0.3621)),
    Published("ANN_FLEX", "mnist/flex-ann", (0.4822, 0.4394, 0.4028)),
    Published("SNN", "mnist/vgg16-hybrid", (0.7526, 0.6909, 0.6718)),
    Published("SNN_FLEX", "mnist/flex-hybrid", (0.8988, 0.8580, 0.8269)),
    Published("SNN_BP", "mnist/vgg16-stbp", (0.8598, 0.8102, 0.7852)),
    Published("SNN_BP_FLEX", "mnist/flex-stbp", (0.9303, 0.8971, 0.8692)),
)
"""Printed in ``public/mnist_attack_plot.png`` of ZephyrNing/BioFlexNet at commit b2cad1c."""

Cells = Mapping[tuple[str, str], Candidate]


def replication_page(store: ResultStore) -> tuple[str, list[Damaged]]:
    """The page with both, and the stored files that cannot be read.

    A cell counts if it has MNIST's protocol, whose grid begins with the source's, or the same
    protocol with the source's grid. An attack with the source's own settings has a column of its
    own if there is a cell of it.
    """
    found, damaged = _cells(store)
    stored = {attack for _, attack in found}
    ours = {attack: _columns(attack, stored) for attack in ATTACKS}
    columns: list[str] = []
    for attack in ATTACKS:
        columns += [f"{attack} there", *(f"{name} here" for name in ours[attack])]
    lines = []
    for row in PUBLISHED:
        cells = [row.name.replace("_", r"\_"), row.model]
        checks = _checks(found, row.model)
        for attack, value in zip(ATTACKS, row.areas, strict=True):
            here = (
                _ours(found.get((row.model, name)), checks.get(name, ())) for name in ours[attack]
            )
            cells += [f"{value:.4f}", *here]
        lines.append(cells)
    table = markdown_table(["There", "Here", *columns], lines, words=2)
    text = "\n".join([*table, "", _provenance(found), ""])
    return page("replication", "BioFlexNet's areas on MNIST and ours", text), damaged


def _columns(attack: str, stored: set[str]) -> list[str]:
    """Our attacks beside one of the source's; empty if no cell is stored."""
    literal = LITERAL.get(attack)
    return [] if not stored else [attack, *([literal] if literal in stored else [])]


def _cells(store: ResultStore) -> tuple[Cells, list[Damaged]]:
    grids = {**MNIST.protocol.grids, NORM: _grid()}
    accepted = (MNIST, replace(MNIST, protocol=replace(MNIST.protocol, grids=grids)))
    ours = {row.model for row in PUBLISHED}
    cells, damaged = store.cells()
    listed = []
    for cell in cells:
        known = cell.attack in (*ATTACKS, *LITERAL.values())
        outcome = cell.outcome
        if cell.model not in ours or not known or outcome is None or not outcome.registered:
            continue
        if not all(differences(outcome, dataset) for dataset in accepted):
            listed.append(Listed.of(cell, outcome, store))
    chosen, _, bad = choose_sound(listed)
    return {(c.identity.model, c.identity.attack): c for c in chosen}, [*damaged, *bad]


def _grid() -> tuple[Epsilon, ...]:
    """The source's grid, which is the same for all attacks."""
    return find_grid(GRID).epsilons(ATTACKS[0], NORM)


def _checks(found: Cells, model: str) -> Mapping[str, Sequence[Check]]:
    """The checks that compare the attacks on a model, up to the end of the source's grid."""
    here = {name: cell for (of, name), cell in found.items() if of == model}
    values = [epsilon.value for epsilon in _grid()]
    spiking = any(mode_of(cell.outcome) != "ann" for cell in here.values())
    cells = [to_compare(cell, name) for name, cell in here.items()]
    return compared(cells, values, values[-1], spiking=spiking)


def _ours(candidate: Candidate | None, checks: Sequence[Check]) -> str:
    """Our area with its interval and verdict; a dash where it is withheld."""
    if candidate is None:
        return "—"
    verdict, reasons = verdict_of(candidate.outcome, checks)
    number = "—" if verdict == "invalid" else str(decimal(_area(candidate)))
    words = "" if verdict == "valid" else escape_markdown(f" {verdict_text(verdict, reasons)}")
    return number + words


def _area(candidate: Candidate) -> Estimate:
    """The area up to the end of the source's grid, divided by it."""
    return auc_of(candidate.positions, candidate.outcome.curve, _grid()[-1].value)


def _provenance(found: Cells) -> str:
    if not found:
        return (
            "No results of ours on this grid are stored yet; make them with "
            "`robench run --dataset mnist`."
        )
    first = next(iter(found.values())).identity
    versions = {i.attack: i.attack_version for i in (c.identity for c in found.values())}
    names = (*ATTACKS, *LITERAL.values())
    attacks = ", ".join(f"{name} version {versions[name]}" for name in names if name in versions)
    return (
        f"Here: the first {first.samples} test images, SHA-256 {first.data_sha256[:16]}, seed "
        f"{first.seed}, {attacks}; in brackets the 95 % interval."
    )
