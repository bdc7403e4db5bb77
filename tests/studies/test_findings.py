"""The claims, and the page that the published results give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.datasets import DIGITS
from robench.results import ROBUST
from robench.results.paired import Difference
from studies.findings.claims import Claim, Evidence
from studies.findings.figure import draw_findings
from studies.findings.measured import ENSEMBLE, find_claims
from studies.findings.stability import stability
from studies.findings.stores import Stores, attacked_otherwise, need_longer, unlike
from studies.findings.trainings import over_trainings, read_trainings, widest
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, refused
from tests.support.made_up import GRID, Builder, fall
from tests.support.made_up import N as SAMPLES

N = 200


def evidence(shift: float, against: str = "", *, trainings: int = 2) -> Evidence:
    rng = np.random.default_rng(0)
    other = rng.normal(10, 3, N)  # the images differ more than the networks
    noise = np.tile([0.1, -0.1], N // 2)
    one = Evidence.of("Digits", "ann", (other + shift + noise, other), against)
    return replace(one, trainings=trainings)


def claim(*found: Evidence, better: int = 1, margin: float | None = None) -> Claim:
    return Claim("T", "C.", "M", better, 1, 2, found, "X.", margin)  # type: ignore[arg-type]


def robustness(results: Path) -> Claim:
    """The claim about the robustness of spiking networks, without a table of several trainings."""
    claims = find_claims(Stores.of(results, ROOT / "models", results / "none.csv"))
    return next(one for one in claims if one.title == "Robustness of spiking networks")


def test_the_difference_is_paired_and_its_sign_is_that_of_flex() -> None:
    one = evidence(0.5)
    assert isinstance(one.difference, Difference)
    assert one.difference.value == pytest.approx(0.5)
    assert one.difference.high - one.difference.low < 0.1
    assert one.p < 0.001


@pytest.mark.parametrize(
    ("shifts", "verdict"),
    [
        ((0.5, 0.4), "supported"),
        ((0.5, 0.0), "cannot tell"),
        ((0.5, -0.4), "not supported"),
        ((0.0, -0.4), "not supported"),
        ((), "cannot tell"),
    ],
)
def test_one_difference_against_a_claim_is_enough(shifts: tuple[float, ...], verdict: str) -> None:
    found = [evidence(shift) for shift in shifts]
    assert claim(*found).verdict == verdict
    opposite = [evidence(-shift) for shift in shifts]
    assert claim(*opposite, better=-1).verdict == verdict


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.5, "cannot tell"), (0.0, "cannot tell"), (-0.5, "not supported")]
)
def test_one_training_of_each_network_supports_nothing(shift: float, verdict: str) -> None:
    assert claim(evidence(shift, trainings=1)).verdict == verdict


def test_several_trainings_are_compared_by_their_means() -> None:
    flex, other = np.array([0.9, 0.8, 0.85]), np.array([0.5, 0.1, 0.3])
    one = Evidence.of_trainings("MNIST", "stbp", (flex, other))
    d = one.difference
    assert (d.first, d.second, one.trainings) == (pytest.approx(0.85), pytest.approx(0.3), 3)
    # Welch: s² / n = 0.000833 and 0.013333, ν = 2.249, t(0.975) = 3.87
    assert (d.low, d.high) == (pytest.approx(0.089, abs=0.002), pytest.approx(1.011, abs=0.002))
    assert one.p == pytest.approx(0.035, abs=0.002)
    same = Evidence.of_trainings("MNIST", "stbp", (np.zeros(3), np.zeros(3)))
    assert (same.difference.value, same.p) == (0, 1)


def test_a_table_of_several_trainings_gives_evidence(tmp_path: Path) -> None:
    rows = [
        {
            "dataset": "digits", "mode": "stbp", "variant": name, "seeds": 3, "clean": 0.99,
            "clean_by_seed": "0.99 0.98 1.0", "attack": "spgd", "version": "7",
            "epsilon": "16/255", "accuracy": 0.4, "robust_by_seed": robust, "difference": 0.0,
            "low": 0.0, "high": 0.0, "verdicts": verdicts,
        }
        for name, robust, verdicts in (
            ("adaptive", "0.8 0.9 0.85", "valid"), ("vgg16", "0.3 0.4 0.5", "valid"),
        )
    ]  # fmt: skip
    path = tmp_path / "ablations.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    table = read_trainings(path)
    (robust,) = over_trainings(table, "digits", "stbp", "robust")
    assert robust.what == "stbp, spgd at 16/255, 3 trainings"
    assert (robust.difference.value, robust.against) == (pytest.approx(0.45), "")
    (clean,) = over_trainings(table, "digits", "stbp", "clean")
    assert (clean.difference.value, clean.p) == (0, 1)
    assert not [*over_trainings(table, "digits", "ann", "clean")]
    assert not [*over_trainings(table, "mnist", "stbp", "clean")]
    suspect = table.assign(verdicts=["valid", "suspect, valid"])
    (robust,) = over_trainings(suspect, "digits", "stbp", "robust")
    assert robust.against == "not all are valid"
    (robust,) = over_trainings(table.assign(robust_by_seed="0 0 0"), "digits", "stbp", "robust")
    assert robust.against == "nothing is left of either"
    assert widest(table) == ("Digits", "stbp", 3, "VGG16", 0.3, 0.5)
    assert widest(suspect) == ("Digits", "stbp", 3, "FLEX", 0.8, 0.9)
    assert read_trainings(tmp_path / "none.csv").empty
    assert widest(read_trainings(tmp_path / "none.csv")) is None


def test_a_training_is_one_number_of_its_stability(tmp_path: Path) -> None:
    def log(network: str, accuracies: list[float]) -> None:
        folder = tmp_path / "digits" / network
        folder.mkdir(parents=True)
        rows = {"train_loss": 1.0, "test_accuracy": accuracies}
        pd.DataFrame(rows).to_csv(folder / "training.csv", index=False)

    log("flex-stbp", [0.5, 0.4, 0.9])
    log("vgg16-stbp", [0.5, 0.6, 0.7])
    (alone,) = stability(tmp_path, "digits", "stbp")
    assert alone.against == "one training of each"
    assert (alone.difference.first, alone.difference.second) == (pytest.approx(0.05), 0)
    for seed, fall_of_flex in ((1, 0.2), (2, 0.3)):
        log(f"flex-stbp/seeds/{seed}", [0.5, 0.5 - fall_of_flex, 0.9])
        log(f"vgg16-stbp/seeds/{seed}", [0.5, 0.6, 0.7])
    (several,) = stability(tmp_path, "digits", "stbp")
    assert (several.against, several.trainings) == ("", 3)
    assert several.difference.value == pytest.approx(0.1)
    assert not [*stability(tmp_path, "digits", "ann")]


def test_what_counts_for_nothing_changes_no_verdict() -> None:
    bad = evidence(-5, "vgg16-ann invalid")
    assert claim(evidence(0.5), bad).verdict == "supported"
    assert claim(bad).verdict == "cannot tell"
    rows = claim(evidence(0.5), bad).rows()
    assert rows[0][-2:] == ("< 0.001", "for")
    assert rows[1][-2:] == ("—", "vgg16-ann invalid")


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.5, "supported"), (-0.04, "supported"), (-0.1, "cannot tell"), (-0.5, "not supported")],
)
def test_comparable_is_no_worse_than_by_a_margin(shift: float, verdict: str) -> None:
    assert claim(evidence(shift), margin=0.1).verdict == verdict


def test_the_figure_shows_what_each_difference_says() -> None:
    found = evidence(0.5), evidence(0.0), evidence(-0.4), evidence(-5, "vgg16-ann invalid")
    figure = draw_findings([claim(*found), claim(*found, better=-1)])
    panels = [ax for side in figure.subfigs for ax in side.axes]
    assert [ax.get_title("left") for ax in panels] == ["T: not supported"] * 2
    for ax, markers in zip(panels, (">o<", "<o>"), strict=True):
        points = [line for line in ax.get_lines() if len(line.get_xdata()) == 1]
        assert "".join(str(point.get_marker()) for point in points) == markers
        assert len(ax.get_yticks()) == 3
        assert "1 more do not count" in ax.get_xlabel()
    assert [ax.xaxis.get_inverted() for ax in panels] == [False, True]


def test_pairs_that_were_trained_by_one_recipe_count() -> None:
    assert unlike("digits", "stbp") == ""


def test_only_valid_numbers_are_evidence_of_robustness(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    attacks = {"fgsm": "invalid", "pgd": "suspect", "spgd": "suspect", "spgd-long": "valid"}
    for attack, verdict in attacks.items():
        for name, scale in (("vgg16", 40.0), ("flex", 90.0)):
            reasons = () if verdict == "valid" else ("made up",)
            builder.add(
                f"digits/{name}-stbp", attack, fall(scale), verdict=verdict, reasons=reasons
            )  # type: ignore[arg-type]
    headline = DIGITS.protocol.headline["linf"]
    for name, left in (("vgg16", 20), ("flex", 90)):
        found = np.where(np.arange(SAMPLES) < left, ROBUST, 1)
        builder.add(f"digits/{name}-stbp", ENSEMBLE, found, grid=(GRID[0], headline))
    robust = robustness(tmp_path)
    assert [one.what for one in robust.evidence] == [
        *(f"stbp, {attack}" for attack in attacks),
        "stbp, ensemble at 16/255",
    ]
    assert [bool(one.against) for one in robust.evidence] == [True, True, True, False, False]
    assert robust.evidence[-1].difference.value == pytest.approx(70 / SAMPLES)
    assert robust.signs == [1, 1]
    assert robust.verdict == "cannot tell"  # one training of each


def test_a_pair_gets_the_longer_spgd_where_that_of_one_has_not_converged(tmp_path: Path) -> None:
    builder, bad = Builder(tmp_path), ("not converged: twice the steps find 3.0 points more",)
    for mode in ("hybrid", "stbp"):
        builder.add(f"digits/vgg16-{mode}", "spgd", fall(40.0), check="steps")
    builder.add("digits/flex-hybrid", "spgd", fall(90.0), check="steps")
    builder.add(
        "digits/flex-stbp", "spgd", fall(90.0), verdict="suspect", reasons=bad, check="steps"
    )
    stores = Stores.of(tmp_path, ROOT / "models", tmp_path / "none.csv")
    assert need_longer(stores, "digits") == ["digits/vgg16-stbp", "digits/flex-stbp"]
    assert need_longer(stores, "mnist") == []


def test_an_ann_on_which_spgd_has_converged_is_compared_with_the_longer_one(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    for name in ("vgg16", "flex"):
        builder.add(f"digits/{name}-ann", "spgd", fall(50.0), check="steps", mode="ann")
        for attack, verdict in (("spgd", "suspect"), ("spgd-long", "valid")):
            builder.add(f"digits/{name}-stbp", attack, fall(90.0), verdict=verdict)  # type: ignore[arg-type]
    claims = find_claims(Stores.of(tmp_path, ROOT / "models", tmp_path / "none.csv"))
    beside = next(one for one in claims if one.title == "Beside the ANNs")
    assert [one.against for one in beside.evidence] == ["", ""]


def test_networks_with_unlike_adversarial_training_are_not_compared() -> None:
    assert attacked_otherwise("cifar10/flex-stbp-at", "cifar10/vgg16-ann-at")
    assert not attacked_otherwise("cifar10/flex-ann-at", "cifar10/vgg16-ann-at")
    assert not attacked_otherwise("cifar10/flex-stbp", "cifar10/vgg16-ann")


def test_few_values_have_the_interval_of_student() -> None:
    values = np.arange(10.0)
    found = Evidence.of("Digits", "ann", (values, np.zeros(10))).difference
    half = 2.262157 * values.std(ddof=1) / np.sqrt(10)
    assert (found.low, found.high) == pytest.approx((4.5 - half, 4.5 + half), rel=1e-6)


@pytest.mark.parametrize(("left", "counts"), [((0, 0), False), ((0, 3), True)])
def test_two_networks_of_which_nothing_is_left_do_not_differ(
    tmp_path: Path, left: tuple[int, int], counts: bool
) -> None:
    builder = Builder(tmp_path)
    for name, images in zip(("vgg16", "flex"), left, strict=True):
        builder.add(f"digits/{name}-stbp", "spgd", fall(40.0))
        found = np.where(np.arange(SAMPLES) < images, ROBUST, 1)
        grid = (GRID[0], DIGITS.protocol.headline["linf"])
        builder.add(f"digits/{name}-stbp", ENSEMBLE, found, grid=grid)
    ensemble = robustness(tmp_path).evidence[-1]
    assert ensemble.against == ("" if counts else "nothing is left of either")


def test_a_page_without_the_marks_is_refused(study: Cli, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# robench\n", "utf-8")
    page = ("--output", tmp_path / "findings.md", "--readme", readme)
    done = study("findings", *page, "--results", ROOT / "results", "--models-dir", ROOT / "models")
    refused(done, "there are no lines <!-- from results/")
    assert readme.read_text("utf-8") == "# robench\n"
    assert not (tmp_path / "findings.md").exists()


def test_the_committed_pages_show_the_committed_results(
    study: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = study("findings", "--check")
    assert done.code == 0, done.err
