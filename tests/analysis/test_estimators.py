from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from robench.analysis import RANKED, Rank, alone, ensemble
from robench.analysis.estimators import cost_of_run
from robench.attacks import PGD, EnsembleAttack, SpikingAutoAttack, SurrogateEnsemble
from robench.errors import UsageError
from robench.registry import find_attack
from robench.spiking import OZDENIZCI_LEGENSTEIN, Estimator
from tests.support.commands import Finished

Cli = Callable[..., Finished]


def rank(estimator: str, not_found: int, cost: float = 1.0) -> Rank:
    return Rank("digits/x", estimator, not_found, 40, 20.0, 1.0, cost)


def test_each_estimator_runs_alone() -> None:
    assert set(OZDENIZCI_LEGENSTEIN) < set(RANKED)
    attacks = alone([*RANKED, "bptr"], 7)
    assert len(attacks) == len(RANKED)
    for estimator, named in zip(RANKED, attacks, strict=True):
        assert named.attack.finders == (estimator,)
        assert named.attack.steps == 7
    with pytest.raises(UsageError, match="atn"):
        alone(["atn(2)"], 7)


def test_the_proposed_attack_has_the_strongest_and_begins_with_the_cheapest() -> None:
    ranked = [
        rank("atan(2)", 3),
        rank("cba", 4, 0.58),
        rank("triangle(1)/hart", 5),
        rank("atan(10)", 9),
    ]
    text = ensemble(ranked, 3)
    assert text == "surrogate-ensemble[surrogates=[atan(2),triangle(1)/hart],paths=[cba]]"
    assert find_attack(text).attack.finders == ("atan(2)", "triangle(1)/hart", "cba")
    assert ensemble(ranked, 1) == "surrogate-ensemble[surrogates=[atan(2)]]"
    attack = find_attack(ensemble([ranked[0], rank("rga", 4)], 2)).attack
    assert attack.finders == ("atan(2)", "rga")


def test_a_run_with_the_counterpart_costs_less_though_each_iterate_is_evaluated() -> None:
    robust = pd.DataFrame({"minimal_position": [-1, -1], "forwards": [1, 1], "backwards": [20, 20]})
    counterpart = robust.assign(forwards=21)
    assert cost_of_run(robust, "atan(2)", 4, 20) == pytest.approx((4 + 20 * 12) / 240)
    assert cost_of_run(counterpart, "cba", 4, 20) == pytest.approx((21 * 4 + 20 * 3) / 240)
    again = robust.assign(backwards=40)  # each gradient underflowed and was computed twice
    assert cost_of_run(again, "exponential(2)", 4, 20) == pytest.approx((4 + 40 * 12) / 240)
    found = pd.DataFrame({"minimal_position": [1, 0], "forwards": [1, 1], "backwards": [3, 0]})
    assert cost_of_run(found, "atan(2)", 4, 20) == pytest.approx((4 + 3 * 12) / 36)


def test_ensembles_go_from_cheap_to_strong() -> None:
    ours = SpikingAutoAttack()
    assert isinstance(ours, EnsembleAttack)
    assert ours.spgd.steps < ours.apgd_t.steps * ours.apgd_t.n_targets < ours.square.queries
    # all surrogates of the ensemble cost the same: the strongest ones come first
    assert SurrogateEnsemble().surrogates[0] == "atan(2)"
    assert SurrogateEnsemble().steps == PGD().steps
    assert all(Estimator.parse(name).path is None for name in SurrogateEnsemble().surrogates)


def test_estimators_are_ranked_and_the_same_command_continues(cli: Cli, tmp_path: Path) -> None:
    command = (
        "analyze", "estimators", "--models", "digits/vgg16-stbp",
        "--estimators", "fast_sigmoid(25),cba,triangle(1)/hart",
        "--limit", "5", "--steps", "2", "--keep", "2", "--eps", "24/255,32/255",
        "--results", tmp_path / "cells",
    )  # fmt: skip
    first = cli(*command)
    assert first.code == 0, first.err
    assert "--attacks 'surrogate-ensemble[surrogates=[" in first.out
    table = pd.read_csv(tmp_path / "cells" / "estimators.csv")
    assert set(table["estimator"]) == {"fast_sigmoid(25)", "cba", "triangle(1)/hart"}
    assert table["robust"].is_monotonic_increasing
    assert (table["samples"] == 10).all()
    assert (table["low"] <= table["robust"]).all()
    assert table.set_index("estimator")["cost"]["cba"] < 1
    text = (tmp_path / "cells" / "estimators.csv").read_text("utf-8")
    second = cli(*command)
    assert second.out.count("kept") == 6
    assert (tmp_path / "cells" / "estimators.csv").read_text("utf-8") == text


@pytest.mark.parametrize(
    ("model", "option", "value", "says"),
    [
        ("digits/vgg16-stbp", "--estimators", "atn(2)", "atn"),
        ("digits/vgg16-stbp", "--estimators", ",", "names none"),
        ("digits/vgg16-stbp", "--steps", "0", "at least 1"),
        ("digits/vgg16-stbp", "--keep", "0", "at least 1"),
        ("digits/vgg16-ann", "--keep", "1", "without spikes"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    cli: Cli, tmp_path: Path, model, option, value, says
) -> None:
    done = cli("analyze", "estimators", "--models", model, "--results", tmp_path, option, value)
    assert done.code == 2
    assert says in done.err
