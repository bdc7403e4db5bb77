"""Ensembles: the worst case per sample over several attacks, each searched as if it ran alone."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar, Self

from robench.attacks.apgd import APGDCE, APGDDLR, APGDT
from robench.attacks.contract.attack import Attack, Gradients, Need, StagedAttack
from robench.attacks.fab import FABT
from robench.attacks.sapgd import SAPGD
from robench.attacks.spgd import SPGD
from robench.attacks.square import Square
from robench.attacks.transfer import Transfer


class EnsembleAttack(StagedAttack):
    """An attack whose fields are its members: attacks, from cheap to strong.

    Each member is searched from the largest ε, as in a cell of its own, so the ensemble is on no
    sample weaker than any member. A sample with an adversarial example at the smallest ε is not
    attacked by the later members.
    """

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The members in order."""
        return tuple(getattr(self, name) for name in type(self).model_fields)

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The stages of all members."""
        return tuple(chain.from_iterable(part.stages for part in self.parts))

    @property
    def required(self) -> frozenset[Need]:
        """What any member requires, except sources: a member without sources adds nothing."""
        return super().required - {"sources"}

    @property
    def full_version(self) -> str:
        """The version, with the versions of the members."""
        parts = ", ".join(f"{part.name} {part.full_version}" for part in self.parts)
        return f"{self.version} ({parts})"

    @property
    def source_patterns(self) -> tuple[str, ...]:
        """The source patterns of all members."""
        return tuple(chain.from_iterable(part.source_patterns for part in self.parts))

    def with_sources(self, names: tuple[str, ...]) -> Self:
        """The same ensemble, with the names of the sources passed to each member."""
        parts = zip(type(self).model_fields, self.parts, strict=True)
        return self.model_copy(update={name: part.with_sources(names) for name, part in parts})


class SpikingAutoAttack(EnsembleAttack):
    """The headline ensemble for any model; ``transfer`` adds nothing if there is no source."""

    name: ClassVar[str] = "spiking-autoattack"
    gradients: ClassVar[Gradients] = "chosen"
    least_classes: ClassVar[int] = APGDDLR.least_classes

    # the order of the fields is the order in which they run
    spgd: SPGD = SPGD()
    transfer: Transfer = Transfer()
    sapgd: SAPGD = SAPGD()
    apgd_dlr: APGDDLR = APGDDLR()
    square: Square = Square()


class AutoAttack(EnsembleAttack):
    """The standard ensemble with its standard settings (Croce and Hein, ICML 2020)."""

    name: ClassVar[str] = "autoattack"
    version: ClassVar[int] = 2
    least_classes: ClassVar[int] = APGDT.least_classes

    apgd_ce: APGDCE = APGDCE()
    apgd_t: APGDT = APGDT()
    fab_t: FABT = FABT()
    square: Square = Square(rescale=False)
