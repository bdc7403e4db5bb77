"""A claim, the paired differences that decide it, and the verdict."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp, ttest_ind

from robench.analysis.robustness.differences import LEVEL, SMALLEST, holm, sign_flip_test
from robench.results.paired import Difference

Verdict = Literal["supported", "not supported", "cannot tell"]
FEW = 30
"""Samples below which an interval is Student's: a percentile bootstrap of so few is too narrow."""


@dataclass(frozen=True)
class Evidence:
    """One paired difference.

    Attributes:
        data: the title of the data set.
        what: the mode, and the attack or the model that FLEX is compared with.
        difference: FLEX minus the other.
        p: of a paired sign-flip test.
        against: why it decides nothing, such as an invalid number; empty if it counts.
        trainings: how many of each network it compares.
    """

    data: str
    what: str
    difference: Difference
    p: float
    against: str = ""
    trainings: int = 1

    @classmethod
    def of(
        cls,
        data: str,
        what: str,
        values: Sequence[NDArray[np.float64]],
        against: str = "",
    ) -> Evidence:
        """That of the values of FLEX and of another network on the same samples, ``(N,)`` each."""
        flex, other = values
        found = Difference.of(flex, other)
        if flex.size < FEW and np.ptp(flex - other) > 0:
            interval = ttest_1samp(flex - other, 0).confidence_interval(1 - LEVEL)
            found = replace(found, low=float(interval.low), high=float(interval.high))
        return cls(data, what, found, sign_flip_test(flex - other), against)

    @classmethod
    def of_trainings(
        cls,
        data: str,
        what: str,
        values: Sequence[NDArray[np.float64]],
        against: str = "",
    ) -> Evidence:
        """That of a number for each training of FLEX and of another network, after Welch."""
        flex, other = values
        means = float(flex.mean()), float(other.mean())
        count = min(flex.size, other.size)
        if np.ptp(flex) == np.ptp(other) == 0:  # no training differs from another one
            gap = means[0] - means[1]
            return cls(data, what, Difference(*means, gap, gap), float(gap == 0), against, count)
        with warnings.catch_warnings():  # scipy warns where one of them does not vary
            warnings.simplefilter("ignore", RuntimeWarning)
            test = ttest_ind(flex, other, equal_var=False)
        interval = test.confidence_interval(1 - LEVEL)
        found = Difference(*means, float(interval.low), float(interval.high))
        return cls(data, what, found, float(test.pvalue), against, count)


def nothing_left(values: Sequence[NDArray[np.float64]]) -> str:
    """Why robust accuracies of two networks decide nothing; empty if any of them is above 0."""
    return "" if any(np.any(one) for one in values) else "nothing is left of either"


@dataclass(frozen=True)
class Claim:
    """A claim and its evidence.

    Attributes:
        title: of its section.
        claim: what the source says.
        measure: what is compared, with its unit.
        better: whether larger (1) or smaller (−1) is better for FLEX.
        scale: from the numbers to the unit.
        digits: after the decimal point.
        evidence: the differences.
        change: what would change the verdict.
        margin: the claim is that FLEX is no worse than by this much; None if it is that it is
            better.
        note: what a reader has to know of the numbers.
    """

    title: str
    claim: str
    measure: str
    better: Literal[1, -1]
    scale: float
    digits: int
    evidence: Sequence[Evidence]
    change: str
    margin: float | None = None
    note: str = ""

    @property
    def counted(self) -> list[Evidence]:
        """The evidence that counts."""
        return [one for one in self.evidence if not one.against]

    @property
    def adjusted(self) -> NDArray[np.float64]:
        """Holm's adjusted p-values of the evidence that counts."""
        return holm(np.array([one.p for one in self.counted]))

    @property
    def signs(self) -> list[int]:
        """For each difference that counts: 1 for the claim, −1 against it, 0 for neither."""
        if self.margin is not None:
            return [self._beside(one.difference, self.margin) for one in self.counted]
        return [
            0 if p >= LEVEL else self.better * int(np.sign(one.difference.value))
            for one, p in zip(self.counted, self.adjusted, strict=True)
        ]

    def _beside(self, difference: Difference, margin: float) -> int:
        """Whether the interval lies above, below or on both sides of the margin."""
        ends = sorted((self.better * difference.low, self.better * difference.high))
        return 1 if ends[0] >= -margin else -1 if ends[1] < -margin else 0

    @property
    def verdict(self) -> Verdict:
        """Not supported by at least one difference, or supported by every one, or neither.

        One training of each network supports nothing.
        """
        signs = self.signs
        if -1 in signs:
            return "not supported"
        repeated = any(one.trainings > 1 for one in self.counted)
        return "supported" if repeated and 0 not in signs else "cannot tell"

    @property
    def count(self) -> str:
        """How many differences say what, in words."""
        signs = self.signs
        parts = [
            f"{signs.count(sign)} of {len(signs)} {word}"
            for sign, word in ((1, "for it"), (-1, "against it"), (0, "neither"))
        ]
        return ", ".join(parts)

    def rows(self) -> list[tuple[str, ...]]:
        """The evidence as texts: data, what, both numbers, the difference, p, and what it says."""
        tested = iter(zip(self.adjusted, self.signs, strict=True))
        return [self._row(one, None if one.against else next(tested)) for one in self.evidence]

    def _row(self, one: Evidence, tested: tuple[float, int] | None) -> tuple[str, ...]:
        d = one.difference
        other, flex, value, low, high = (
            f"{number * self.scale:{sign},.{self.digits}f}"
            for number, sign in (
                (d.second, ""), (d.first, ""), (d.value, "+"), (d.low, "+"), (d.high, "+"),
            )
        )  # fmt: skip
        said = one.against
        p = "—"
        if tested is not None:
            said = {1: "for", -1: "against", 0: "neither"}[tested[1]]
        if tested is not None and self.margin is None:
            p = "< 0.001" if tested[0] < 0.001 else f"{tested[0]:.3f}"
            if p[0] != "<" and np.isclose(one.p, SMALLEST):  # no random flip was as far from 0
                p = f"≤ {p}"
        return one.data, one.what, other, flex, f"{value} [{low}, {high}]", p, said
