from __future__ import annotations

from typing import NamedTuple

import pytest

from robench.reporting.figures.style import STYLES, invalid, line_style, line_styles, numbered_style

MODES = ("ann", "hybrid", "stbp", "spiking")


class Line(NamedTuple):
    family: str
    mode: str


def lightness(style: dict) -> float:
    red, green, blue = style["color"]
    return 0.299 * red + 0.587 * green + 0.114 * blue  # as PIL turns a picture to grey


def in_grey(style: dict) -> tuple[str, str]:
    """What is left of a style without its colour."""
    return style["marker"], str(style["linestyle"])


def test_the_marker_is_the_architecture_and_the_line_the_mode() -> None:
    vgg, flex = ([line_style(name, mode) for mode in MODES] for name in ("vgg16", "flex-vgg16"))
    assert {style["marker"] for style in vgg} != {style["marker"] for style in flex}
    assert len({style["marker"] for style in vgg}) == 1
    assert len({str(style["linestyle"]) for style in vgg}) == len(MODES)
    assert [style["linestyle"] for style in vgg] == [style["linestyle"] for style in flex]


def test_the_architectures_differ_in_grey() -> None:
    assert abs(lightness(line_style("vgg16", "ann")) - lightness(line_style("flex", "ann"))) > 0.25


@pytest.mark.parametrize("families", [("vgg16",), ("vgg16", "flex-vgg16"), ("other",)])
def test_models_differ_without_colour(families: tuple[str, ...]) -> None:
    models = [Line(family, mode) for family in families for mode in MODES for _ in range(2)]
    assert len(set(map(in_grey, line_styles(models)))) == len(models)


def test_attacks_differ_without_colour() -> None:
    styles = [numbered_style(number) for number in range(2 * STYLES)]
    assert len(set(map(in_grey, styles))) == len(styles)
    lines = [str(style["linestyle"]) for style in styles[:4]]
    assert len(set(lines)) == 4


def test_what_is_invalid_keeps_its_marker_and_its_line() -> None:
    for number in range(4):
        style = numbered_style(number)
        assert in_grey(invalid(style)) == in_grey(style)
        assert invalid(style)["markerfacecolor"] == "white"
        assert invalid(style)["color"] != style["color"]


def test_a_further_model_of_a_style_is_lighter() -> None:
    first, second, other = line_styles(
        [Line("vgg16", "ann"), Line("vgg16", "ann"), Line("vgg16", "stbp")]
    )
    assert lightness(second) - lightness(first) > 0.15
    assert other["color"] == first["color"]


@pytest.mark.parametrize("family", ["vgg16", "flex-vgg16", "other"])
def test_nine_models_of_one_style_differ_and_can_be_seen(family: str) -> None:
    styles = line_styles([Line(family, "ann")] * 9)
    assert len({(style["color"], style["marker"]) for style in styles}) == 9
    assert all(lightness(style) < 0.9 for style in styles)


def test_networks_of_a_user_have_different_styles() -> None:
    styles = line_styles([Line("other", "ann"), Line("resnet", "ann"), Line("other", "stbp")])
    assert len({style["marker"] for style in styles}) == 3
    assert len({style["color"] for style in styles}) == 3
