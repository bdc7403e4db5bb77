"""Recipes of small networks on digits, as the text of a ``recipe.toml``."""

from __future__ import annotations


def recipe_text(
    training: str, model: str = "", *, architecture: str = "vgg16", mode: str = "ann"
) -> str:
    """A recipe for digits at a sixteenth of the width.

    Args:
        training: lines of the ``[training]`` table.
        model: more lines of the ``[model]`` table, or tables below it.
        architecture: of the network.
        mode: how it computes.
    """
    return f"""
[model]
architecture = "{architecture}"
mode = "{mode}"
dataset = "digits"
classes = 10
width = 0.0625
{model}

[training]
{training}

[about]
description = "A test."
"""
