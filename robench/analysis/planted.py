"""The binarization test: does an attack find an adversarial example that is known to exist?

Zimmermann, Brendel, Tramèr and Carlini, Increasing confidence in adversarial robustness
evaluations, NeurIPS 2022. For each sample the features of the network are kept, and its last layer
is replaced by a binary read-out that separates points well inside the ball, the clean image among
them, from one planted corner of the ball. The corner is an adversarial example by construction, so
an attack that finds none is too weak for this network. Random search has to fail, or the test says
nothing.

The inverted test takes the same read-outs, bent so that no input at all reaches the other class,
with the same direction of every gradient. There an attack has to find nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from robench.analysis.features import Features
from robench.analysis.planting import (
    Planted,
    PlantedNetwork,
    plant,
    random_search,
)
from robench.architectures import VGG
from robench.datasets import CIFAR10, Dataset, Images
from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.evaluation import LocalExecutor, Request, make_plan, run_plan
from robench.isolation import isolated, standard
from robench.registry import Model, ModelEntry, NamedAttack
from robench.results import Interval, ResultStore, Verdict
from robench.results.metrics import wilson
from robench.runtime.device import find_device, placed

RANDOM = 200, 1000
"""The least and the most points of random search; in between, the passes of the attack."""
VALID, SUSPECT, EASY = 0.95, 0.9, 0.1
"""Success of the attack from which its results are valid, and below which they are invalid; success
of random search above which the test says nothing. The 95 % interval has to lie beyond the last
two."""
ROWS = ("index", "gap", "found", "random", "inverted", "passes")
COLUMNS = (
    *("model", "attack", "epsilon", "samples", "not_applicable", "success", "low", "high"),
    *("random", "random_points", "inverted", "verdict", "reason"),
)


@dataclass(frozen=True)
class PlantedTest:
    """What an attack found of the planted adversarial examples.

    Attributes:
        model: id of the model.
        attack: name of the attack.
        epsilon: radius of the balls.
        rows: a row for each sample with a planted example, with the columns ``index`` of its image,
            ``gap`` of its read-out, ``found``, ``random``, ``inverted`` and ``passes``.
        not_applicable: samples without one.
        random_points: points of random search for each sample.
        why: why there are none, if there are none.
    """

    model: str
    attack: str
    epsilon: Epsilon
    rows: pd.DataFrame
    not_applicable: int
    random_points: int = 0
    why: str = ""

    @property
    def success(self) -> float:
        """Share of the planted samples in which the attack finds an adversarial example."""
        return float(self.rows["found"].mean())

    @property
    def random(self) -> float:
        """The same of random search."""
        return float(self.rows["random"].mean())

    @property
    def inverted(self) -> float:
        """Share of the samples in which it claims one where none exists."""
        return float(self.rows["inverted"].mean())

    @property
    def verdict(self) -> Verdict:
        """What the attack's numbers on this model are worth."""
        return self._outcome[0]

    @property
    def reason(self) -> str:
        """A sentence; empty if the verdict is valid."""
        return self._outcome[1]

    @property
    def _outcome(self) -> tuple[Verdict, str]:
        if not len(self.rows):
            return "unchecked", self.why
        if self.inverted > 0:
            return "invalid", f"adversarial examples claimed where none exists: {self.inverted:.0%}"
        weak = f"the attack finds {self.success:.0%} of the planted adversarial examples"
        if self._interval("found").high < SUSPECT:
            return "invalid", weak
        if self._interval("random").low > EASY:
            return "unchecked", f"the test is too easy: random search finds {self.random:.0%}"
        return ("suspect", weak) if self.success < VALID else ("valid", "")

    def _interval(self, column: str) -> Interval:
        return wilson(int(self.rows[column].sum()), len(self.rows))

    def to_frame(self) -> pd.DataFrame:
        """One row: model, attack, ε, samples, success with its 95 % interval, and so on."""
        n = len(self.rows)
        interval = self._interval("found") if n else None
        values = (
            *(self.model, self.attack, self.epsilon.text, n, self.not_applicable),
            *((self.success, interval.low, interval.high) if interval else (np.nan,) * 3),
            *((self.random,) if n else (np.nan,)),
            self.random_points,
            *((self.inverted,) if n else (np.nan,)),
            *(self.verdict, self.reason),
        )
        return pd.DataFrame([dict(zip(COLUMNS, values, strict=True))])


@dataclass(frozen=True)
class PlantedTests:
    """The binarization tests of several attacks on the same planted examples."""

    tests: tuple[PlantedTest, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row for each attack, see :meth:`PlantedTest.to_frame`."""
        return pd.concat([test.to_frame() for test in self.tests], ignore_index=True)

    def __repr__(self) -> str:
        return self.to_frame().to_string(index=False, float_format="{:.3g}".format, na_rep="")


def planted_tests(
    model: Model,
    attacks: Sequence[NamedAttack],
    images: Images,
    epsilon: Epsilon,
    *,
    seed: int = 0,
    device: str = "auto",
) -> PlantedTests:
    """Plant an adversarial example in the ball of each image, and let attacks look for it.

    Args:
        model: the model; nothing in its network is changed.
        attacks: attacks in L∞.
        images: clean images; their labels are not used.
        epsilon: radius of the balls.
        seed: of the points and of the attacks' random numbers.
        device: see :func:`robench.evaluate`.

    Raises:
        UsageError: an attack has another norm, or needs what the model or the test lacks.
    """
    for attack in attacks:
        if attack.attack.norm != "linf" or attack.shared or attack.attack.source_patterns:
            raise UsageError(
                f"attack {attack.name}: the binarization test plants a point of the L∞ ball of "
                "the model itself; take an attack such as pgd, spgd or square"
            )
    if epsilon.value <= 0:
        raise UsageError(f"ε {epsilon.text}: the ball has to be larger than a point")
    request = Request(eps=(epsilon,), seed=seed, device=find_device(device))
    if model.stochastic:
        planted: Planted | str = "the features of a stochastic network differ from draw to draw"
    else:
        with isolated(), standard(), placed(model, request.device):
            planted = plant(model, images, epsilon, seed)
    if isinstance(planted, str):
        none, missing = pd.DataFrame(columns=ROWS), len(images)
        test = PlantedTest(model.id, "", epsilon, none, missing, why=planted)
        return PlantedTests(tuple(replace(test, attack=attack.name) for attack in attacks))
    index, network = planted.index, planted.network
    kept = Images(images.images[index], np.zeros(len(index), np.int64))
    run = partial(_run, model, images=kept, request=request)
    found = [run(network, attack) for attack in attacks]
    passes = [rows["forwards"] + rows["backwards"] for rows in found]
    points = int(np.clip(max(each.max() for each in passes), *RANDOM))
    with isolated(), standard(), placed(model, request.device):
        random = random_search(model, network, kept.tensor(), epsilon, seed, points)
    bent = network.bent()
    tests = []
    for attack, rows, count in zip(attacks, found, passes, strict=True):
        claimed = run(bent, attack)["minimal_position"] >= 0
        values = index, planted.gaps, rows["minimal_position"] > 0, random, claimed, count
        frame = pd.DataFrame(dict(zip(ROWS, values, strict=True)))
        missing = len(images) - len(index)
        tests.append(PlantedTest(model.id, attack.name, epsilon, frame, missing, points))
    return PlantedTests(tuple(tests))


def _run(
    model: Model, network: PlantedNetwork, attack: NamedAttack, images: Images, request: Request
) -> pd.DataFrame:
    """The rows of a cell of the binary network, which is evaluated like any other."""
    own = Dataset(
        name=model.dataset,
        title=model.dataset,
        classes=2,
        shape=images.images.shape[1:],
        protocol=replace(CIFAR10.protocol, slice=len(images)),
        load=lambda split: images,
    )
    make_counterpart = None
    counterpart = model.counterpart() if isinstance(network.features.net, VGG) else None
    if counterpart is not None:
        of_rates = network.reading(Features(counterpart), inverted=network.inverted)
        make_counterpart = partial(lambda built: built, of_rates)
    binary = model.changed(
        network=(lambda: network) if model.checkpoint else network,
        sha256=sha256(model.sha256.encode()).hexdigest() if model.checkpoint else "",
        classes=2,
        make_counterpart=make_counterpart,
        clean_accuracy=None,
    )
    entry = ModelEntry(model.id, "Python", False, "", lambda: binary, named=True)
    with TemporaryDirectory(prefix="robench-") as folder:
        store = ResultStore(Path(folder))
        plan = make_plan([entry], [attack], request, store, find=lambda name: own)
        ((result, _),) = run_plan(plan, store, executor=LocalExecutor(strict=True))
        if result.outcome is None:
            raise UsageError(f"attack {attack.name} on model {model.id}: {result.reason}")
        return store.rows(result)
