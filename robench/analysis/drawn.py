"""An analysis as the figures take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from robench.model_id import ModelId
from robench.results import Analysis


@dataclass(frozen=True)
class Drawn:
    """An analysis with its arrays.

    Attributes:
        analysis: the record.
        arrays: by name.
    """

    analysis: Analysis
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the model, without its data set."""
        return ModelId(self.analysis.identity.model).name

    @property
    def family(self) -> str:
        """The architecture."""
        return str(self.analysis.identity.model_config_.get("architecture", ""))

    @property
    def mode(self) -> str:
        """Of the model."""
        return self.analysis.mode
