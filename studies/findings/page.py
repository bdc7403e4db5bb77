"""The page about the claims, what the checks caught, and the numbers of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from robench.datasets import find_dataset
from robench.registry import ModelCard
from robench.registry.cards import CARD
from robench.reporting.report import Entry, verdict_text
from studies.autoattack import COLUMNS
from studies.findings.claims import Claim
from studies.findings.headline import (
    Cells,
    at_headline,
    attacked_table,
    headline_of,
    lost_between,
    small_table,
)
from studies.findings.networks import networks_table, weights_of
from studies.findings.stores import DATASETS, Stores
from studies.findings.trainings import widest
from studies.pages import read_table, render, table_of

OURS = ("pgd", "spgd")
"""Attacks beside AutoAttack by its authors' code."""
PUBLISHED = {
    "network": str,
    "T": str,
    "training": str,
    "clean": str,
    "attack": str,
    "left": str,
    "source": str,
}


def findings_page(
    stores: Stores, claims: Sequence[Claim], published: Path, of_authors: Path
) -> str:
    """The page.

    Args:
        stores: what is stored.
        claims: the claims with their evidence.
        published: a CSV of numbers that others have published.
        of_authors: the CSV of ``python -m studies autoattack``.

    Raises:
        UsageError: one of these cannot be read.
    """
    headline = {name: at_headline(stores, name) for name in DATASETS}
    return render(
        "findings",
        summary=table_of(
            ("claim", "verdict", "differences"),
            [(c.claim, f"**{c.verdict}**", c.count if c.signs else "none counts") for c in claims],
            words=3,
        ),
        networks=networks_table(stores),
        images={name: _training_images(stores.models, name) for name in DATASETS},
        widest=widest(stores.trainings),
        fragile=list(_fragile(headline)),
        claims=[(claim, _table_of_claim(claim)) for claim in claims],
        small=small_table(stores),
        lost=partial(lost_between, stores),
        caught=table_of(
            ("data", "model", "attack", "AUC or left", "worst of all attacks", "verdict"),
            list(_caught(stores)),
            words=3,
        ),
        attacks=[
            (find_dataset(name).title, headline_of(name).text, attacked_table(cells))
            for name, cells in headline.items()
            if cells
        ],
        authors=_beside_the_authors(stores, headline, of_authors),
        published=table_of(
            ("network", "T", "training", "clean, %", "attack", "left, %", "source"),
            [tuple(map(str, row)) for row in read_table(published, PUBLISHED).to_numpy()],
            words=3,
        ),
    )


def _training_images(models: Path, dataset: str) -> str:
    """How many images the networks of a data set were trained on."""
    card = ModelCard.read(models / dataset / "vgg16-ann" / CARD)
    return f"{int(card.about.data.partition(' ')[0]):,}"


def _fragile(headline: Mapping[str, Cells]) -> Iterator[tuple[str, str, str, str]]:
    """The networks that noise at the headline ε takes below half of their clean accuracy."""
    for dataset, cells in headline.items():
        for model, by_attack in cells.items():
            left = by_attack.get("noise")
            if left is not None and left.accuracy < left.clean / 2:
                title, name = find_dataset(dataset).title, model.partition("/")[2]
                yield title, name, f"{left.clean:.1%}", f"{left.accuracy:.1%}"


def _table_of_claim(claim: Claim) -> str:
    head = ("data", "what", "other", "FLEX", "difference [95 % interval]", "p", "says")
    return table_of(head, claim.rows(), words=2)


def _beside_the_authors(stores: Stores, headline: Mapping[str, Cells], of_authors: Path) -> str:
    """What our attacks and AutoAttack by its authors' code leave of the present networks."""
    rows = []
    for row in read_table(of_authors, COLUMNS).to_dict("records"):
        name, ours = row["model"].partition("/")[2], headline[row["dataset"]].get(row["model"], {})
        table = stores.table(row["dataset"])
        images = "" if table is None else table.data_sha256
        same = row["weights_sha256"] == weights_of(stores.models, row["model"])
        if same and row["data_sha256"] == images:
            lefts = [f"{ours[attack].accuracy:.1%}" if attack in ours else "—" for attack in OURS]
            numbers = (f"{row['clean']:.1%}", *lefts, f"{row['robust']:.1%}")
            title = find_dataset(row["dataset"]).title
            rows.append((title, f"`{name}`", row["epsilon"], *numbers))
    names = (f"`{name}`" for name in OURS)
    return table_of(("data", "network", "ε", "clean", *names, "the authors'"), rows, words=3)


def _caught(stores: Stores) -> Iterator[tuple[str, ...]]:
    """The numbers under the protocol that a check called suspect or invalid."""
    for table in (table for table in stores.tables.tables if not table.differs):
        for row in table.rows:
            for result in row.results:
                if result.attack == "fgsm" or result.verdict not in ("suspect", "invalid"):
                    continue
                if isinstance(result, Entry):
                    number, worst = f"{result.auc.value:.3f}", f"{row.worst_auc.value:.3f}"
                else:
                    left = result.accuracy.value, row.worst_accuracy.value
                    number, worst = (f"{one:.1%} at {table.headline}" for one in left)
                yield (
                    table.title, row.model.partition("/")[2], f"`{result.attack}`",
                    "≤ " * (result.verdict == "invalid") + number, worst,
                    verdict_text(result.verdict, result.reasons),
                )  # fmt: skip
