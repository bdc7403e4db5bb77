"""The record of a cell: the result (``outcome``) and how it was computed (``run``)."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 2
PROTOCOL = 3
"""Raised when robench computes something else than before."""

Status = Literal["done", "failed", "not-applicable"]
Verdict = Literal["valid", "suspect", "invalid", "unchecked"]
Thoroughness = Literal["off", "cheap", "full"]

CLEAN_WRONG = 0
ROBUST = -1


class Record(BaseModel):
    """Stored data, of which nothing is changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Identified(Record):
    """What a stored file is found by."""

    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        data = self.model_dump(mode="json", by_alias=True)
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class EpsilonRecord(Record):
    """An ε as number and as text."""

    value: float
    text: str


class Interval(Record):
    """A 95 % interval."""

    low: float
    high: float


class CurvePoint(Record):
    """Robust accuracy at one ε, over all samples, with its Wilson interval."""

    epsilon: EpsilonRecord
    robust: int = Field(description="number of robust samples")
    accuracy: float
    interval: Interval


class Check(Record):
    """One check of a cell: the measured figure, its threshold and the verdict."""

    name: str
    value: float
    threshold: float
    verdict: Verdict
    reason: str = Field("", description="short identifier of the problem, empty if there is none")


class Identity(Identified):
    """Everything that the cell's hash covers."""

    schema_version: int
    protocol: int
    model: str
    fingerprint: str
    model_config_: dict[str, Any] = Field(alias="model_config")
    architecture_version: str
    timesteps: int | None
    dataset: str
    data_sha256: str
    samples: int
    attack: str
    implementation: str
    attack_version: str
    parameters: dict[str, Any]
    norm: str
    grid: tuple[str, ...]
    seed: int
    sweep: str
    sources: dict[str, str] = Field({}, description="fingerprints of the source models, by id")
    eot: int | None = Field(
        None, description="draws that a gradient was averaged over; null without stochastic model"
    )


class Outcome(Record):
    """The result of a cell; deterministic."""

    identity: Identity
    hash: str
    mode: str
    control: bool
    registered: bool
    clean_accuracy: float
    curve: tuple[CurvePoint, ...]
    raw_accuracy: tuple[float, ...] | None = Field(
        None, description="accuracy at each ε alone, if every ε ran on every sample"
    )
    reverified: float = Field(
        description="share of adversarial examples confirmed in another batch"
    )
    auc: dict[str, float] = Field(description="AUC by the text of its upper limit")
    auc_interval: dict[str, Interval]
    forwards: float = Field(description="per sample")
    backwards: float = Field(description="per sample")
    source_passes: float | None = Field(
        None, description="gradient passes per sample through the source models"
    )
    spikes: str = Field(
        "", description="of a user's network: what spikes or rounds, and what keeps its gradient"
    )
    checked: Thoroughness = Field("cheap", description="which checks were asked for")
    checks: tuple[Check, ...]
    verdict: Verdict
    reasons: tuple[str, ...]


class RunRecord(Record):
    """How and where the cell was computed."""

    created: str
    seconds: float
    host: str
    device: str
    threads: int
    batch_size: int | None = Field(
        None, description="rows of one call, at the end; null if no image was attacked"
    )
    kernels: bool | None = Field(
        None,
        description="whether compiled kernels were available; null if nothing was computed",
    )
    peak_memory_mb: float
    versions: dict[str, str]


class CellResult(Record):
    """A stored cell; it has an ``outcome`` exactly if its ``status`` is done."""

    status: Status
    model: str
    attack: str
    dataset: str
    hash: str
    rows_sha256: str | None = Field(None, description="of the Parquet file; null without one")
    outcome: Outcome | None = None
    reason: str = Field("", description="why there is no outcome, on one line")
    error: str | None = Field(None, description="the same in full, with the traceback")
    run: RunRecord
