"""Analyses of models: what was measured of a network beside its robustness, and their store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robench.atomic import replacing
from robench.errors import ContentError
from robench.file_names import file_name
from robench.results.files import (
    LARGEST,
    Damaged,
    first_error,
    keep,
    kept_at,
    read_file,
    read_kept,
    why,
    without_damaged,
)
from robench.results.reading import ERRORS
from robench.results.schema import (
    Count,
    Digest,
    Identified,
    Model,
    RunRecord,
    Sealed,
    canonical_digest,
)

Kind = Literal["activity", "raster", "landscape", "input-landscape"]
FOLDER, ARRAYS, DAMAGED = "analyses", ".safetensors", "analysis-damaged"
E_MAC, E_AC = 4.6, 0.9
"""Energy of an operation in pJ: float32 at 45 nm (Horowitz, ISSCC 2014)."""


class AnalysisIdentity(Identified):
    """Everything that an analysis depends on."""

    kind: Kind
    version: int = Field(description="of the kind; raised when another number may come out")
    model: Model
    fingerprint: str
    model_config_: dict[str, Any] = Field(alias="model_config")
    architecture_version: str
    timesteps: int | None
    dataset: str
    data_sha256: str
    samples: Count
    settings: dict[str, Any] = Field(description="of the kind")


class Analysis(Sealed):
    """A stored analysis of a model."""

    identity: AnalysisIdentity
    hash: Digest
    mode: str
    registered: bool
    summary: dict[str, Any] = Field(description="what was measured, as plain data")
    summary_sha256: str = Field("", description="of the summary as canonical JSON")
    arrays_sha256: Digest | None = Field(
        None, description="of the file of arrays; null without one"
    )
    run: RunRecord

    def summary_digest(self) -> str:
        """SHA-256 of the summary."""
        return canonical_digest(self.summary)


class AnalysisStore:
    """Analyses under ``root/<dataset>/<model>/analyses/<kind>/<hash>.json``.

    The arrays of one are in a safetensors file beside it. The JSON is written last.
    """

    def __init__(self, root: Path) -> None:
        """Open a store in a folder, which need not exist: that of the results of attacks."""
        self.root = root

    def path(self, identity: AnalysisIdentity) -> Path:
        """The path of the JSON of an analysis."""
        places = map(file_name, identity.model.split("/"))
        folder = self.root.joinpath(*places, FOLDER, identity.kind)
        return folder / f"{identity.digest()[:16]}.json"

    def write(self, analysis: Analysis, arrays: Mapping[str, np.ndarray]) -> Analysis:
        """Store an analysis; returns it with the digests of its summary and arrays."""
        path = self.path(analysis.identity)
        digest = analysis.summary_digest()
        analysis = analysis.model_copy(update={"summary_sha256": digest})
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
            digest = keep(bytes(data), path.with_suffix(ARRAYS))
            analysis = analysis.model_copy(update={"arrays_sha256": digest})
        text = analysis.sealed_text()
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
        return Analysis.model_validate_json(text)

    def find(self, identity: AnalysisIdentity) -> Analysis | None:
        """The stored analysis; None without one, or if its files are damaged."""
        path = self.path(identity)
        found = self.read(path) if path.exists() else None
        return found if isinstance(found, Analysis) else None

    def arrays(self, analysis: Analysis) -> dict[str, np.ndarray]:
        """The arrays of an analysis.

        Raises:
            ContentError: they are missing, or not those of the record.
        """
        if analysis.arrays_sha256 is None:
            return {}
        path = kept_at(self.path(analysis.identity).with_suffix(ARRAYS), analysis.arrays_sha256)
        try:
            return dict(load(read_kept(path, analysis.arrays_sha256)))
        except (OSError, ContentError, SafetensorError) as error:
            raise ContentError(f"{path}: {why(error)}") from None

    def analyses(self, kind: Kind | None = None) -> tuple[list[Analysis], list[Damaged]]:
        """All readable analyses of a kind, sorted by path, and the files that cannot be read."""
        paths = sorted(self.root.glob(f"*/*/{FOLDER}/{kind or '*'}/*.json"))
        return without_damaged(map(self.read, paths))

    def read(self, path: Path) -> Analysis | Damaged:
        """The analysis of a JSON file, or which of its files is damaged and why."""
        found = self._believed(path)
        if isinstance(found, Damaged) and found.path != path:
            found = self._believed(path)  # another run stored it between its two files
        return found

    def _believed(self, path: Path) -> Analysis | Damaged:
        try:
            return self._read(path)
        except (OSError, *ERRORS) as error:
            return Damaged(path, why(error), DAMAGED)

    def _read(self, path: Path) -> Analysis | Damaged:
        try:
            found = Analysis.model_validate_json(read_file(path, LARGEST))
        except ValidationError as error:
            return Damaged(path, first_error(error), DAMAGED)
        if found.hash != found.identity.digest():
            return Damaged(path, "its hash is not that of its identity", DAMAGED)
        if found.summary_sha256 != found.summary_digest():
            return Damaged(path, "its summary was changed", DAMAGED)
        if found.sha256 is not None and found.sha256 != found.content_digest():
            return Damaged(path, "its SHA-256 is not that of its content: it was changed", DAMAGED)
        place = self.path(found.identity)
        if place != path:
            return Damaged(path, f"by its record its place is {place}", "analysis-misplaced")
        if found.arrays_sha256 is None:
            return found
        beside = kept_at(path.with_suffix(ARRAYS), found.arrays_sha256)
        try:
            load(read_kept(beside, found.arrays_sha256))
        except (OSError, ContentError, SafetensorError) as error:
            return Damaged(beside, why(error), DAMAGED)
        return found
