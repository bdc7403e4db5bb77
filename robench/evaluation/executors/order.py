"""A run as the user wrote it, from which other processes make the same plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.evaluation.plan import Plan, make_plan
from robench.evaluation.request import Request
from robench.registry import ModelEntry, find_attacks, select_models
from robench.results import ResultStore


@dataclass(frozen=True)
class Order:
    """What a run consists of, as plain data.

    Attributes:
        models: the patterns of the models.
        attacks: the text of the attacks.
        request: the settings.
        output: the folder of the results, absolute.
        folder: the working folder, where relative paths of models begin.
        data: where data sets are looked for, the value of ``ROBENCH_DATA``.
        dataset: see :func:`~robench.registry.select_models`, like ``models_dir``.
        models_dir: a folder of checkpoints.
        fail_fast: whether a cell whose model is invalid before an attack is not computed.
    """

    models: tuple[str, ...]
    attacks: str
    request: Request
    output: Path
    folder: Path
    data: str = ""
    dataset: str | None = None
    models_dir: Path | None = None
    fail_fast: bool = False

    @property
    def store(self) -> ResultStore:
        """The store of the results."""
        return ResultStore(self.output)

    def plan(self, pattern: str | None = None, request: Request | None = None) -> Plan:
        """The plan of the run.

        Args:
            pattern: of the only model whose cells are wanted, None for those of all models.
            request: other settings.

        Raises:
            RobenchError: see :func:`~robench.registry.select_models`, ``find_attacks`` and
                :func:`~robench.evaluation.make_plan`.
        """
        attacks = find_attacks(self.attacks)
        entries = self._entries(self.models if pattern is None else (pattern,))
        sources: Sequence[ModelEntry] = entries
        if pattern is not None and any(named.attack.source_patterns for named in attacks):
            sources = self._entries(self.models)
        return make_plan(
            entries, attacks, request or self.request, self.store, self.models_dir, targets=sources
        )

    def _entries(self, patterns: Sequence[str]) -> list[ModelEntry]:
        return select_models(list(patterns), dataset=self.dataset, models_dir=self.models_dir)
