from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.robustness.found_by import draw_found, found_table, read_found, write_found
from robench.errors import UsageError
from robench.results import ResultStore
from tests.support.commands import Cli
from tests.support.made_up import GRID, Builder, N

# 2 wrong, found by "a" at the first ε and by "b" at the first and the third; the others robust
POSITIONS = np.array([0, 0, 1, 1, 1, 3, 3, *[-1] * (N - 7)])
FINDERS = [None, None, "a", "a", "b", "b", "b", *[None] * (N - 7)]


def add(
    builder: Builder, model: str, attack: str, positions=POSITIONS, finders=FINDERS, **more
) -> None:
    cell = builder.add(model, attack, np.asarray(positions), **more)
    builder.change(cell, found_by=pd.array(finders, dtype="string"))


def one_finder(attack: str) -> dict:
    return {"finders": [None if k <= 0 else attack for k in POSITIONS]}


@pytest.fixture
def store(builder: Builder) -> ResultStore:
    for model in ("digits/vgg16-stbp", "digits/flex-stbp"):
        add(builder, model, "spgd")
        add(builder, model, "fgsm", **one_finder("fgsm"))
    add(builder, "digits/control-zero-gradient", "spgd", control=True)
    return builder.store


def test_finders_are_counted_by_the_minimal_epsilon(store) -> None:
    found, damaged = read_found(store)
    assert not damaged
    assert [(one.model, one.attack) for one in found] == [
        ("digits/flex-stbp", "fgsm"),
        ("digits/flex-stbp", "spgd"),
        ("digits/vgg16-stbp", "fgsm"),
        ("digits/vgg16-stbp", "spgd"),
    ]
    spgd = found[1]
    assert spgd.finders == ("b", "a")
    assert spgd.counts[:, :4].tolist() == [[0, 1, 0, 2], [0, 2, 0, 0]]
    assert spgd.counts.sum() == 5
    assert spgd.robust == N - 7
    assert spgd.line == (
        f"digits/flex-stbp  spgd: b 3, a 2; {N - 7} of {N} robust, 2 wrong without attack; valid"
    )


def test_the_newest_of_equal_cells_counts(builder) -> None:
    add(builder, "digits/m", "spgd", created="2026-02-01T00:00:00+00:00")
    robust = np.full(N, -1)
    new = {"created": "2026-03-01T00:00:00+00:00", "attack_version": "3"}
    add(builder, "digits/m", "spgd", positions=robust, finders=[None] * N, **new)
    (one,), _ = read_found(builder.store)
    assert one.robust == N
    assert one.finders == ()
    assert "nothing found" in one.line


def test_the_table_has_every_number(store) -> None:
    found, _ = read_found(store)
    rows = found_table(found)
    assert len(rows) == 2 * (1 + 2) * (len(GRID) - 1)
    assert list(rows) == [
        "model",
        "attack",
        "found_by",
        "epsilon",
        "found",
        "samples",
        "verdict",
    ]
    b = rows[(rows["found_by"] == "b") & (rows["model"] == "digits/vgg16-stbp")]
    assert b["found"].tolist()[:3] == [1, 0, 2]
    assert (b["samples"] == N).all()
    assert b["epsilon"].nunique() == len(GRID) - 1


def widths(ax) -> dict[str, float]:
    """The length of each bar by the name of its model."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    found = dict.fromkeys(names, 0.0)
    for bar in ax.patches:
        found[names[round(bar.get_y() + bar.get_height() / 2)]] += bar.get_width()
    return found


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_figure_shows_attacks_with_several_finders(store) -> None:
    found, _ = read_found(store)
    figure = draw_found(found)
    (ax,) = figure.axes
    assert ax.get_title("left") == "spgd, up to ε = 32/255"
    assert widths(ax) == dict.fromkeys(["flex-stbp", "vgg16-stbp"], N - 2)
    assert legend(figure) == ["b", "a", "robust"]
    assert [bar.get_width() for bar in ax.patches[:3]] == [3, 2, N - 7]


def test_the_end_of_a_bar_says_the_verdict_and_not_its_reasons(builder) -> None:
    more = {"verdict": "suspect", "reasons": ("twice the steps find 3.2 points more",)}
    add(builder, "digits/a", "spgd", **more)
    add(builder, "digits/b", "spgd", verdict="invalid", reasons=("zero-gradient",))
    add(builder, "digits/c", "spgd")
    (ax,) = draw_found(read_found(builder.store)[0]).axes
    assert [text.get_text().strip() for text in ax.texts] == ["?", "invalid", ""]


def test_a_panel_for_each_of_several_attacks(builder) -> None:
    long = "spgd[surrogate=assg_scaled(0.375),rate_share=0.25,steps=480]"
    for attack in ("spgd", "apgd-t", long):
        add(builder, "digits/m", attack)
    add(builder, "digits/n", "spgd", grid=(GRID[0], GRID[3]), positions=np.minimum(POSITIONS, 1))
    figure = draw_found(read_found(builder.store)[0])
    titles = ["".join(ax.get_title("left").split()) for ax in figure.axes]
    reach = ",uptoε=32/255"
    assert titles == [f"apgd-t{reach}", "spgd,severalgrids", f"{long}{reach}"]
    assert widths(figure.axes[0]) == {"m": N - 2, "n": 0}


def test_attacks_with_one_finder_are_drawn_if_there_are_no_others(builder) -> None:
    add(builder, "digits/m", "fgsm", **one_finder("fgsm"))
    figure = draw_found(read_found(builder.store)[0])
    assert widths(figure.axes[0]) == {"m": N - 2}


def test_the_parts_of_spgd_look_alike_everywhere_and_small_parts_are_others(builder) -> None:
    positions = np.array([1] * 205 + [-1] * (N - 205))
    finders = [f"m{int(k**0.5)}" if k < 60 else None for k in range(N)]  # 8 to 1, ever larger
    finders[:2] = ["s0", "s1"]
    finders[60:205] = ["rga"] * 100 + ["pgd"] * 45
    add(builder, "digits/m", "spgd", positions=positions, finders=finders)
    figure = draw_found(read_found(builder.store)[0])
    names = legend(figure)
    assert names[:2] == ["pgd", "rga"]  # although rga found more
    assert names[-2:] == ["others", "robust"]
    assert len(names) <= 9 + 2
    assert widths(figure.axes[0]) == {"m": N}
    other = Builder(builder.store.root / "other")
    add(
        other, "digits/m", "spgd", positions=positions, finders=["rga" if f else f for f in finders]
    )
    (alone,) = (ax.patches[0] for ax in draw_found(read_found(other.store)[0]).axes)
    assert alone.get_facecolor() == figure.axes[0].patches[1].get_facecolor()


def test_files_are_the_same_each_time(store, tmp_path: Path) -> None:
    found, _ = read_found(store)
    paths = write_found(found, tmp_path / "a")
    assert [path.name for path in paths] == ["digits-found-by.png", "digits-found-by.csv"]
    for one, two in zip(paths, write_found(found, tmp_path / "b"), strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert paths[0].read_bytes().startswith(b"\x89PNG")


def test_the_command_says_what_it_found_and_what_it_left_out(
    cli: Cli, store, builder, tmp_path
) -> None:
    old = builder.add("digits/old", "spgd", POSITIONS)
    builder.store.write(old, builder.store.rows(old).drop(columns="found_by"))
    done = cli("analyze", "found-by", "--results", store.root, "--output", tmp_path / "figures")
    assert done.code == 0, done.err
    assert "digits/vgg16-stbp  spgd: b 3, a 2;" in done.out
    assert f"wrote {tmp_path / 'figures' / 'digits-found-by.png'}" in done.out
    assert "left out, damaged" in done.err
    assert "digits/old" in done.err


def test_an_adversarial_example_without_a_finder_is_damage(builder) -> None:
    add(builder, "digits/good", "spgd")
    add(builder, "digits/bad", "spgd", finders=[None] * N)
    (one,), (damaged,) = read_found(builder.store)
    assert one.model == "digits/good"
    assert "without its finder" in damaged.reason


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--dataset", "digit"), ("did you mean digits",)),
        (("--dataset", "mnist"), ("no finished cell", "for mnist", "robench run")),
        (("--output", "{}/file/figures"), ("file/figures", "is a file")),
    ],
)
def test_a_wrong_argument_is_one_line(cli: Cli, store, tmp_path, arguments, texts) -> None:
    (tmp_path / "file").touch()
    flag, value = arguments
    command = ("found-by", "--results", store.root, "--output", tmp_path / "figures")
    done = cli("analyze", *command, flag, value.format(tmp_path))
    assert done.code == 2
    (line,) = done.err.splitlines()
    for text in texts:
        assert text in line


def test_an_empty_store_is_said() -> None:
    with pytest.raises(UsageError, match="no finished cell"):
        read_found(ResultStore(Path("nowhere")))
