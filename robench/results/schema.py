"""The record of a cell: the result (``outcome``) and how it was computed (``run``)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from robench.epsilon import Epsilon
from robench.errors import UsageError
from robench.model_id import ModelId

SCHEMA = 2
PROTOCOL = 3
"""Raised when robench computes something else than before."""
EOT = 10
"""Default number of draws that a gradient of a stochastic model is averaged over."""

Status = Literal["done", "failed", "not-applicable"]
Verdict = Literal["valid", "suspect", "invalid", "unchecked"]
Thoroughness = Literal["off", "cheap", "full"]
Gradients = Literal["own", "chosen", "source", "none"]

CLEAN_WRONG = 0
ROBUST = -1
MOST = 10**6
"""Samples of a cell: a file may not ask for all memory."""
ROUNDING = 1e-9
"""How far a sum may leave [0, 1]."""


@lru_cache(4096)
def model_id(text: str) -> str:
    """The id of a model, which decides where a cell is stored.

    Raises:
        ValueError: it is none.
    """
    try:
        return str(ModelId.parse(text))
    except UsageError as error:
        raise ValueError(str(error)) from None


@lru_cache(4096)
def attack_name(text: str) -> str:
    """The name of an attack, which is printed and decides where a cell is stored.

    Raises:
        ValueError: it is empty, or has control characters.
    """
    if not text or not text.isprintable():
        raise ValueError(f"{text!a} is no name of an attack")
    return text


def cell_hash(text: str) -> str:
    """The hash of a cell, the beginning of which is the name of its file.

    Raises:
        ValueError: it is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"{text!a} is no SHA-256")
    return text


def _printed(text: object) -> object:
    """A message of a model, which may contain what is no Unicode."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Model = Annotated[str, AfterValidator(model_id)]
Attack = Annotated[str, AfterValidator(attack_name)]
Text = Annotated[str, BeforeValidator(_printed)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=-ROUNDING, le=1 + ROUNDING, allow_inf_nan=False)]


class Record(BaseModel):
    """Stored data, of which nothing is changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def canonical_digest(data: object) -> str:
    """SHA-256 of plain data as canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Sealed(Record):
    """A stored record with the digest of its content."""

    sha256: Digest | None = Field(
        None, description="of the rest of the record as canonical JSON; null in earlier versions"
    )

    def content_digest(self) -> str:
        """SHA-256 of everything but the digest itself.

        Fields that the file of an earlier version does not have are left out.
        """
        without = {"sha256"}
        return canonical_digest(
            self.model_dump(mode="json", by_alias=True, exclude=without, exclude_unset=True)
        )

    def sealed_text(self) -> str:
        """The text of the file: the record with its digest, as JSON."""
        data = self.model_dump(mode="json", by_alias=True, exclude={"sha256"})
        data["sha256"] = canonical_digest(data)
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class Identified(Record):
    """What a stored file is found by."""

    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return canonical_digest(self.model_dump(mode="json", by_alias=True))


class EpsilonRecord(Record):
    """An ε as number and as text."""

    value: NotNegative
    text: str


class Interval(Record):
    """A 95 % interval."""

    low: Finite
    high: Finite


class CurvePoint(Record):
    """Robust accuracy at one ε, over all samples, with its Wilson interval."""

    epsilon: EpsilonRecord
    robust: Count = Field(description="number of robust samples")
    accuracy: Share
    interval: Interval


class Check(Record):
    """One check of a cell: the measured figure, its threshold and the verdict."""

    name: str
    value: Finite
    threshold: Finite
    verdict: Verdict
    reason: str = Field("", description="short identifier of the problem, empty if there is none")


_SEVERITY: tuple[Verdict, ...] = ("unchecked", "valid", "suspect", "invalid")


def more_severe(one: Verdict, other: Verdict) -> Verdict:
    """The more severe of two verdicts."""
    return max(one, other, key=_SEVERITY.index)


def worst_verdict(checks: Sequence[Check]) -> Verdict:
    """The most severe verdict of checks; ``unchecked`` without checks."""
    return max((check.verdict for check in checks), key=_SEVERITY.index, default="unchecked")


def reasons_of(checks: Sequence[Check]) -> tuple[str, ...]:
    """The reasons of checks, each once."""
    return tuple(dict.fromkeys(check.reason for check in checks if check.reason))


class Identity(Identified):
    """Everything that the cell's hash covers."""

    schema_version: int
    protocol: int
    model: Model
    fingerprint: str
    model_config_: dict[str, Any] = Field(alias="model_config")
    architecture_version: str
    timesteps: int | None
    dataset: str
    data_sha256: str
    samples: Count
    attack: Attack
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
    hash: Digest
    mode: str
    control: bool
    registered: bool
    clean_accuracy: Share
    curve: tuple[CurvePoint, ...]
    raw_accuracy: tuple[Share, ...] | None = Field(
        None, description="accuracy at each ε alone, if every ε ran on every sample"
    )
    reverified: Share = Field(
        description="share of adversarial examples confirmed in another batch"
    )
    auc: dict[str, Share] = Field(description="AUC by the text of its upper limit")
    auc_interval: dict[str, Interval]
    forwards: NotNegative = Field(description="per sample")
    backwards: NotNegative = Field(description="per sample")
    source_passes: NotNegative | None = Field(
        None, description="gradient passes per sample through the source models"
    )
    spikes: str = Field(
        "", description="of a user's network: what spikes or rounds, and what keeps its gradient"
    )
    spiking: bool = Field(False, description="whether a user's network was found to spike")
    gradients: Gradients | None = Field(
        None, description="where those of the attack come from; null in older records"
    )
    split: Literal["test", "train"] = Field("test", description="where the images come from")
    single_step: bool | None = Field(
        None, description="whether the attack is one step; null in older records"
    )
    checked: Thoroughness = Field("cheap", description="which checks were asked for")
    checks: tuple[Check, ...]
    verdict: Verdict
    reasons: tuple[str, ...]

    @property
    def areas(self) -> dict[str, Share]:
        """:attr:`auc`; empty where one ε alone was attacked, which says nothing of those below."""
        return self.auc if len(self.curve) > 2 else {}

    @property
    def limits(self) -> tuple[float, ...]:
        """The upper limits of :attr:`auc`, as numbers."""
        return tuple(Epsilon.parse(text).value for text in self.auc)

    @property
    def limit(self) -> CurvePoint:
        """The point at the first of :attr:`limits`; at the largest ε without any."""
        limits = self.limits
        return next((at for at in self.curve if at.epsilon.value in limits), self.curve[-1])


class RunRecord(Record):
    """How and where the cell was computed."""

    created: str
    seconds: NotNegative
    host: str
    device: str
    threads: Count
    batch_size: Count | None = Field(
        None, description="rows of one call, at the end; null if no image was attacked"
    )
    kernels: bool | None = Field(
        None,
        description="whether compiled kernels were available; null if nothing was computed",
    )
    peak_memory_mb: NotNegative
    versions: dict[str, str]


class CellResult(Sealed):
    """A stored cell; it has an ``outcome`` exactly if its ``status`` is done."""

    status: Status
    model: Model
    attack: Attack
    dataset: str
    hash: Digest
    rows_sha256: Digest | None = Field(None, description="of the Parquet file; null without one")
    examples_sha256: Digest | None = Field(
        None, description="of the file of adversarial examples; null without one"
    )
    outcome: Outcome | None = None
    reason: Text = Field("", description="why there is no outcome, on one line")
    error: Text | None = Field(None, description="the same in full, with the traceback")
    run: RunRecord
