"""The figures of loss surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from robench.analysis.landscape import draw_inputs, draw_sharpness, draw_weights
from robench.analysis.landscape.draw import Drawn
from robench.analysis.landscape.losses import axis
from robench.analysis.landscape.surfaces import Scale
from robench.results import Analysis, AnalysisIdentity, RunRecord

POINTS = 5
RUN = RunRecord(
    created="2026-01-01T00:00:00+00:00", seconds=1, host="h", device="cpu", threads=2,
    peak_memory_mb=1, versions={},
)  # fmt: skip


def drawn(name: str, surface: np.ndarray, mode: str = "ann", value: float | None = 0.2) -> Drawn:
    """A model with one surface everywhere."""
    identity = AnalysisIdentity.model_validate(
        {
            "kind": "landscape", "version": 1, "model": f"digits/{name}", "fingerprint": "",
            "model_config": {}, "architecture_version": "", "timesteps": None,
            "dataset": "digits", "data_sha256": "", "samples": 5,
            "settings": {"attack": "spgd", "epsilon": "16/255"},
        }
    )  # fmt: skip
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    rises = [{"radius": rho, "value": value, "low": low, "high": high} for rho in (0.1, 0.25, 0.5)]
    summary = {"images": 5, "sharpness": rises, "zero_gradient": 0.25}
    analysis = Analysis(
        identity=identity, hash="0" * 64, mode=mode, registered=True, summary=summary, run=RUN
    )
    arrays: dict[str, Any] = {"coordinates": axis(POINTS), "losses": np.zeros((10, 3))}
    arrays |= dict.fromkeys(("surface", "own", "attack"), surface)
    return Drawn(analysis, arrays)


def bowl(least: float, most: float) -> np.ndarray:
    x = axis(POINTS)
    away: np.ndarray = (x[:, None] ** 2 + x[None, :] ** 2) / 2
    return least + (most - least) * away


def texts(figure: Figure) -> str:
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_all_models_have_one_scale(number: int) -> None:
    given = [drawn(f"net-{k}", bowl(0.1 * (k + 1), k + 2)) for k in range(number)]
    figure = draw_weights(given)
    above = [ax for ax in figure.axes if ax.name == "3d"]
    below = [ax for ax in figure.axes if ax.get_xlabel() == "1st direction"]
    assert len(above) == len(below) == number
    assert len({ax.get_zlim() for ax in above}) == 1  # type: ignore[attr-defined]
    limits = {ax.collections[0].get_clim() for ax in below}
    assert limits == {(0.1, float(number + 1))}
    for name in (f"net-{k}" for k in range(number)):
        assert name in texts(figure)


def test_the_scale_is_logarithmic_where_the_range_needs_it() -> None:
    assert not Scale.of([bowl(1, 10)]).log
    assert Scale.of([bowl(1, 2), bowl(0.01, 1)]).log
    zero = Scale.of([bowl(0, 5)])
    assert zero.log
    assert zero.low > 0
    assert "log scale" in texts(draw_weights([drawn("net", bowl(0.01, 9))]))
    assert "log scale" not in texts(draw_weights([drawn("net", bowl(1, 2))]))


@pytest.mark.parametrize(
    "surface",
    [
        np.full((POINTS, POINTS), 2.3), np.zeros((POINTS, POINTS)),
        np.full((POINTS, POINTS), np.nan), bowl(1e-9, 1e6),
        np.where(bowl(0, 1) > 0.5, np.inf, bowl(0, 1)),
    ],
    ids=["flat", "zero", "not finite", "wide", "partly infinite"],
)  # fmt: skip
@pytest.mark.parametrize("draw", [draw_weights, draw_inputs], ids=lambda draw: draw.__name__)
def test_unusual_surfaces_are_drawn(draw: Any, surface: np.ndarray) -> None:
    draw(
        [drawn("net", surface), drawn("an-unusually-long-name-of-a-network", surface)]
    ).canvas.draw()


def test_each_model_has_its_sharpness_with_an_interval() -> None:
    given = [drawn("one", bowl(0, 1), "stbp"), drawn("two", bowl(0, 1), value=None)]
    figure = draw_sharpness(given)
    assert len(figure.axes) == 3
    for ax in figure.axes:
        assert len(ax.containers) == 1
        assert [text.get_text() for text in ax.texts] == ["not finite"]
        assert ax.get_xscale() == "linear"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["one", "two"]
    assert "10 random directions" in texts(figure)


def test_the_sharpness_is_logarithmic_where_the_values_need_it() -> None:
    near, far = drawn("near", bowl(0, 1), value=0.11), drawn("far", bowl(0, 1), value=9.0)
    assert {ax.get_xscale() for ax in draw_sharpness([near, far]).axes} == {"log"}
    around = drawn("around", bowl(0, 1), value=0.01)  # its interval contains zero
    assert {ax.get_xscale() for ax in draw_sharpness([around, far]).axes} == {"linear"}


def test_both_surfaces_of_a_model_stand_beside_each_other() -> None:
    figure = draw_inputs([drawn(f"net-{k}", bowl(0.1, 2)) for k in range(3)])
    panels = [ax for ax in figure.axes if ax.get_aspect() == 1]
    names = [ax.get_xlabel() for ax in panels]
    assert names == ["own gradient (zero: 25 %)", "spgd"] * 3
    assert "ε = 16/255" in texts(figure)
