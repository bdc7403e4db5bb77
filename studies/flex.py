"""FLEX minus VGG16 of the same mode: spikes, energy and sharpness, from stored analyses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.analysis.measuring import newest
from robench.datasets import find_dataset
from robench.errors import UsageError
from robench.results import Analysis, AnalysisStore, Damaged, Interval
from robench.results.metrics import bootstrap
from studies.pages import markdown_table, page

MODES = ("ann", "hybrid", "stbp")
DATASETS = ("mnist", "cifar10", "digits")
RADIUS = 2
"""Position of the largest ρ among those of the sharpness."""


@dataclass(frozen=True)
class Difference:
    """A paired difference of two models.

    Attributes:
        plain: the mean of VGG16.
        flex: the mean of FLEX.
        interval: of the difference, 95 %.
    """

    plain: float
    flex: float
    interval: Interval

    @classmethod
    def of(cls, plain: NDArray[np.float64], flex: NDArray[np.float64]) -> Difference:
        """Of the values of two models on the same images or directions, ``(N,)``."""
        return cls(float(plain.mean()), float(flex.mean()), bootstrap(flex - plain))

    def text(self, scale: float, digits: int) -> str:
        """Both means, and the difference with its interval."""
        plain, flex = (f"{value * scale:,.{digits}f}" for value in (self.plain, self.flex))
        low, high = (
            f"{value * scale:+,.{digits}f}" for value in (self.interval.low, self.interval.high)
        )
        return f"{plain} → {flex} [{low}, {high}]"

    def answer(self, less: str, more: str) -> str:
        """The word for the sign of the difference; ``no`` if the interval contains 0."""
        if self.interval.low <= 0 <= self.interval.high:
            return f"neither {less} nor {more}"
        return less if self.interval.high < 0 else more


def flex_page(store: AnalysisStore) -> tuple[str, list[Damaged]]:
    """The page with a table, and the stored files that cannot be read.

    Raises:
        UsageError: nothing is stored of a pair of models.
    """
    activity, bad = store.analyses("activity")
    landscapes, worse = store.analyses("landscape")
    clean = [found for found in activity if "attack" not in found.identity.settings]
    rows = list(_rows(store, _by_model(clean), _by_model(landscapes)))
    if not rows:
        raise UsageError(
            f"{store.root} has no activity of two models; make it with: robench analyze energy"
        )
    head = ["data", "mode", "spikes, thousands", "energy, µJ", "S(0.5), nats", "FLEX is"]
    text = "\n".join([*markdown_table(head, rows, words=2), "", _NOTE, ""])
    return page("flex", "FLEX beside VGG16: spikes, energy and sharpness", text), bad + worse


_NOTE = (
    "VGG16 → FLEX of the same mode and training, and in brackets the 95 % interval of the "
    "difference: a paired bootstrap over the images, or for S(0.5) over the directions that both "
    "share. The intervals do not cover another training. Energy is that of the synaptic operations "
    "and of FLEX's masks, without memory."
)


def _by_model(found: list[Analysis]) -> Mapping[str, Analysis]:
    return {analysis.identity.model: analysis for analysis in newest(found)}


def _rows(
    store: AnalysisStore, activity: Mapping[str, Analysis], landscapes: Mapping[str, Analysis]
) -> Iterator[list[str]]:
    for dataset in DATASETS:
        for mode in MODES:
            names = [f"{dataset}/{kind}-{mode}" for kind in ("vgg16", "flex")]
            pair = [activity[name] for name in names if name in activity]
            if len(pair) < 2 or len({of.identity.data_sha256 for of in pair}) > 1:
                continue
            plain, flex = (store.arrays(of) for of in pair)
            spikes = Difference.of(plain["clean.spikes"], flex["clean.spikes"])
            energy = Difference.of(plain["clean.energy"], flex["clean.energy"])
            words = [] if mode == "ann" else [spikes.answer("sparser", "denser")]
            words.append(energy.answer("cheaper", "more costly"))
            sharp = _sharpness(store, [landscapes[name] for name in names if name in landscapes])
            words += [] if sharp is None else [sharp.answer("flatter", "sharper")]
            yield [
                find_dataset(dataset).title,
                mode,
                "—" if mode == "ann" else spikes.text(1e-3, 1),
                energy.text(1e-6, 2),
                "—" if sharp is None else sharp.text(1, 2),
                ", ".join(words),
            ]


def _sharpness(store: AnalysisStore, pair: list[Analysis]) -> Difference | None:
    """S(ρ) at the largest ρ; None unless both were measured with the same settings and images."""
    settings = {(of.identity.data_sha256, str(of.identity.settings)) for of in pair}
    if len(pair) < 2 or len(settings) > 1:
        return None
    plain, flex = (store.arrays(of)["losses"][:, RADIUS] - of.summary["loss"] for of in pair)
    return Difference.of(plain, flex)
