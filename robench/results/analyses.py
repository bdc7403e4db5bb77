"""Analyses of models: what was measured of a network beside its robustness, and their store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from robench.atomic import replacing
from robench.errors import plainly
from robench.file_names import file_name
from robench.results.schema import Identified, Record, RunRecord
from robench.results.store import Damaged

Kind = Literal["activity", "raster", "landscape", "input-landscape"]
FOLDER = "analyses"
E_MAC, E_AC = 4.6, 0.9
"""Energy of an operation in pJ: float32 at 45 nm (Horowitz, ISSCC 2014)."""


class AnalysisIdentity(Identified):
    """Everything that an analysis depends on."""

    kind: Kind
    version: int = Field(description="of the kind; raised when another number may come out")
    model: str
    fingerprint: str
    model_config_: dict[str, Any] = Field(alias="model_config")
    architecture_version: str
    timesteps: int | None
    dataset: str
    data_sha256: str
    samples: int
    settings: dict[str, Any] = Field(description="of the kind")


class Analysis(Record):
    """A stored analysis of a model."""

    identity: AnalysisIdentity
    hash: str
    mode: str
    registered: bool
    summary: dict[str, Any] = Field(description="what was measured, as plain data")
    summary_sha256: str = Field("", description="of the summary as canonical JSON")
    arrays_sha256: str | None = Field(None, description="of the file of arrays; null without one")
    run: RunRecord

    def summary_digest(self) -> str:
        """SHA-256 of the summary."""
        text = json.dumps(self.summary, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


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
            with replacing(path.with_suffix(".safetensors")) as temporary:
                temporary.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            analysis = analysis.model_copy(update={"arrays_sha256": digest})
        data_of = analysis.model_dump(mode="json", by_alias=True)
        text = json.dumps(data_of, indent=1, ensure_ascii=False, allow_nan=False)
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", "utf-8", newline="\n")
        return analysis

    def find(self, identity: AnalysisIdentity) -> Analysis | None:
        """The stored analysis; None without one, or if its files are damaged."""
        path = self.path(identity)
        found = self.read(path) if path.exists() else None
        return found if isinstance(found, Analysis) else None

    def arrays(self, analysis: Analysis) -> dict[str, np.ndarray]:
        """The arrays of an analysis that :meth:`read` found whole."""
        path = self.path(analysis.identity).with_suffix(".safetensors")
        return load(path.read_bytes()) if analysis.arrays_sha256 else {}

    def analyses(self, kind: Kind | None = None) -> tuple[list[Analysis], list[Damaged]]:
        """All readable analyses of a kind, sorted by path, and the files that cannot be read."""
        good: list[Analysis] = []
        bad: list[Damaged] = []
        for path in sorted(self.root.glob(f"*/*/{FOLDER}/{kind or '*'}/*.json")):
            found = self.read(path)
            (bad if isinstance(found, Damaged) else good).append(found)  # type: ignore[arg-type]
        return good, bad

    @staticmethod
    def read(path: Path) -> Analysis | Damaged:
        """The analysis of a JSON file, or which of its files is damaged and why."""
        try:
            found = Analysis.model_validate_json(path.read_bytes())
        except ValidationError as error:
            return Damaged(path, plainly(error.errors()[0]["msg"]))
        except OSError as error:
            return Damaged(path, error.strerror or type(error).__name__)
        if found.hash != found.identity.digest():
            return Damaged(path, "its hash is not that of its identity")
        if found.summary_sha256 != found.summary_digest():
            return Damaged(path, "its summary was changed")
        if found.arrays_sha256 is None:
            return found
        beside = path.with_suffix(".safetensors")
        try:
            data = beside.read_bytes()
            if hashlib.sha256(data).hexdigest() != found.arrays_sha256:
                return Damaged(beside, "its SHA-256 is not the one in the JSON")
            load(data)
        except OSError as error:
            return Damaged(beside, error.strerror or type(error).__name__)
        except SafetensorError as error:
            return Damaged(beside, plainly(str(error)))
        return found
