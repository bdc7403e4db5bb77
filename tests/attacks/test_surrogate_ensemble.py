from __future__ import annotations

import pytest

from robench.attacks import PGD, SurrogateEnsemble
from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import UsageError
from robench.registry import find_attack, select_models
from tests.support.sweeping import GRID, robust_at, sweep


def test_a_surrogate_ensemble_is_pgd_with_each_surrogate(linear) -> None:
    """Without spikes no surrogate is used, and all runs of a round are the same."""
    alone = sweep(linear.model, PGD(restarts=2), linear.x, linear.y).run()
    ensemble = sweep(linear.model, SurrogateEnsemble(restarts=2), linear.x, linear.y).run()
    assert (alone["minimal_position"] == ensemble["minimal_position"]).all()
    expected = [linear.robust(epsilon.value) for epsilon in GRID]
    assert [robust_at(ensemble, k) for k in range(len(GRID))] == expected


def test_paths_are_recorded_and_one_estimator_is_needed() -> None:
    assert SurrogateEnsemble().model_dump()["paths"] == ()
    assert SurrogateEnsemble(paths=("hart",)).model_dump()["paths"] == ("hart",)
    assert SurrogateEnsemble(surrogates=(), paths=("cba",)).required == {"counterpart"}
    with pytest.raises(UsageError, match="surrogates needs at least one"):
        find_attack("surrogate-ensemble[surrogates=[]]")


def test_surrogates_are_combined_with_paths() -> None:
    ensemble = SurrogateEnsemble(surrogates=("atan(2)", "triangle(1)"), paths=("hart", "bptr"))
    assert ensemble.finders == ("atan(2)/hart", "triangle(1)/hart", "bptr")


def test_an_ensemble_of_the_models_own_gradient_is_pgd() -> None:
    """``digits/vgg16-stbp`` was trained through atan(2) along ``stbp``."""
    (entry,) = select_models(["digits/vgg16-stbp"])
    data = DIGITS.load("test").first(4)
    grid = parse_grid(["16/255"])
    one, two = (
        sweep(entry.load(), attack, data.tensor(), data.targets(), grid).run()
        for attack in (
            PGD(steps=4),
            SurrogateEnsemble(steps=4, surrogates=("atan(2)",), paths=("stbp",)),
        )
    )
    assert (one["minimal_position"] == two["minimal_position"]).all()
    assert (one["backwards"] == two["backwards"]).all()


def test_assg_follows_the_neurons_over_a_run_and_starts_again_with_the_next(linear) -> None:
    """Each run has empty statistics at its first step and filled ones afterwards."""
    seen: list[bool] = []

    class View:
        spiking = True

        def gradient_and_logits(self, x, y, loss, *, surrogate, path, statistics):
            seen.append(statistics.entries[0] is None)
            statistics.entries = [x.new_ones(1)] * len(x)
            return x - 2, None

    def noise(stream: str, draw: object = 0):
        return linear.x[:2] * 0 + 0.5

    ensemble = SurrogateEnsemble(steps=3, restarts=2, surrogates=("assg(0.4)",))
    x, y, eps = linear.x[:2], linear.y[:2], linear.x.new_full((2,), 0.1)
    state = ensemble.init(View(), x, y, eps, noise)
    for _ in range(6):
        state.candidate, state = ensemble.step(View(), x, y, eps, state, noise)
    assert seen == [True, False, False] * 2
