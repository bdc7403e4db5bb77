"""Recipes of small networks on digits, as the text of a ``recipe.toml`` and as it is read."""

from __future__ import annotations

from pathlib import Path

from robench.training import Recipe

TRAINING = """epochs = {}
batch_size = 32
learning_rate = 0.05
warmup_epochs = 1
augment = ["shift"]
{}"""


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


def recipe(
    folder: Path,
    mode: str = "ann",
    model: str = "",
    training: str = "",
    architecture: str = "vgg16",
    epochs: int = 2,
) -> Recipe:
    path = folder / "recipe.toml"
    lines = TRAINING.format(epochs, training)
    text = recipe_text(lines, model, architecture=architecture, mode=mode)
    path.write_text(text, "utf-8")
    return Recipe.read(path)


def adversarial(*phases: tuple[int, str]) -> str:
    listed = [f'{{ epochs = {epochs}, epsilon = "{epsilon}" }}' for epochs, epsilon in phases]
    return f"adversarial_schedule = [{', '.join(listed)}]"
