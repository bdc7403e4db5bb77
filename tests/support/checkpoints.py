"""Checkpoints that a test changes."""

from __future__ import annotations

from pathlib import Path

from robench.registry import ModelCard
from robench.registry.cards import CARD, WEIGHTS
from robench.registry.weights import file_sha256

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""


def sign(folder: Path) -> None:
    """Write the digest of a checkpoint's weights into its card."""
    card, weights = folder / CARD, folder / WEIGHTS
    before = ModelCard.read(card).weights.sha256
    card.write_text(card.read_text("utf-8").replace(before, file_sha256(weights)), "utf-8")
