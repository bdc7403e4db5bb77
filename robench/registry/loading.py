"""Loading a checkpoint from its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robench.architectures import VERSION, VGG, ModelConfig
from robench.model_id import ModelId
from robench.registry.cards import WEIGHTS, ModelCard, own_id, read_card
from robench.registry.model import Model
from robench.registry.weights import check_weights, load_weights


def load_folder(
    folder: str | Path, model_id: ModelId | None = None, *, registered: bool = True
) -> Model:
    """The model of a checkpoint; its weights are checked, and loaded when they are needed.

    Raises:
        ContentError: the card or the weights are missing or damaged, do not belong together, or the
            card names another data set than the id.
    """
    folder = Path(folder)
    card = read_card(folder, model_id)
    weights, sha256 = folder / WEIGHTS, card.weights.sha256
    check_weights(weights, sha256)
    counterpart = partial(_network, card.model, weights, sha256, counterpart=True)
    return Model(
        partial(_network, card.model, weights, sha256),
        model_id or own_id(folder, card),
        card.model.classes,
        card=facts(card),
        sha256=sha256,
        mode=card.model.mode,
        timesteps=card.model.timesteps,
        make_counterpart=None if card.model.mode == "ann" else counterpart,
        control=card.about.control,
        registered=registered,
        shareable=card.model.flex.threshold == "trained",
        clean_accuracy=card.about.clean_accuracy,
        input_kind=card.model.input_kind,
    )


def facts(card: ModelCard) -> dict[str, Any]:
    """What a cell's hash covers of a card, beside the digest of the weights."""
    return card.model.model_dump() | {"architecture_version": VERSION}


def _network(
    config: ModelConfig, weights: Path, sha256: str, *, counterpart: bool = False
) -> nn.Module:
    """The network of a card with its weights, or its ANN counterpart, which has no thresholds."""
    network = VGG(config, counterpart=counterpart)
    drop = ".threshold" if counterpart and config.mode == "stbp" else None
    load_weights(network, weights, sha256, drop=drop)
    return network.eval().requires_grad_(False)
