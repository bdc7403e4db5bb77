from __future__ import annotations

from typing import NamedTuple

from robench.reporting.figures.style import line_style, line_styles


class Line(NamedTuple):
    family: str
    mode: str


def lightness(style: dict) -> float:
    red, green, blue = style["color"]
    return 0.299 * red + 0.587 * green + 0.114 * blue  # as PIL turns a picture to grey


def test_the_marker_is_the_architecture_and_the_line_the_mode() -> None:
    modes = ("ann", "hybrid", "stbp", "spiking")
    vgg, flex = ([line_style(name, mode) for mode in modes] for name in ("vgg16", "flex-vgg16"))
    assert {style["marker"] for style in vgg} != {style["marker"] for style in flex}
    assert len({style["marker"] for style in vgg}) == 1
    assert len({str(style["linestyle"]) for style in vgg}) == len(modes)
    assert [style["linestyle"] for style in vgg] == [style["linestyle"] for style in flex]


def test_the_architectures_differ_in_grey() -> None:
    assert abs(lightness(line_style("vgg16", "ann")) - lightness(line_style("flex", "ann"))) > 0.25


def test_a_further_model_of_a_style_is_lighter() -> None:
    first, second, other = line_styles(
        [Line("vgg16", "ann"), Line("vgg16", "ann"), Line("vgg16", "stbp")]
    )
    assert lightness(second) - lightness(first) > 0.15
    assert second["marker"] == first["marker"]
    assert other["color"] == first["color"]


def test_networks_of_a_user_have_different_styles() -> None:
    styles = line_styles([Line("other", "ann"), Line("resnet", "ann"), Line("other", "stbp")])
    assert len({style["marker"] for style in styles}) == 3
    assert len({style["color"] for style in styles}) == 3
