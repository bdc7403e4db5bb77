"""Ensembles: the worst case per sample over several attacks."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar, Self

from robench.attacks.apgd import APGDCE, APGDT
from robench.attacks.contract.attack import Attack, Gradients, Need, StagedAttack
from robench.attacks.fab import FABT
from robench.attacks.spgd import SPGD
from robench.attacks.square import Square
from robench.attacks.surrogate_apgd import SurrogateAPGDT
from robench.attacks.transfer import Transfer


class EnsembleAttack(StagedAttack):
    """An attack whose fields are its members: attacks, from cheap to strong.

    Each member is searched from the largest ε, as in a cell of its own, so the ensemble is on no
    sample weaker than any member. A sample with an adversarial example at the smallest ε is not
    attacked by the later members.
    """

    @property
    def members(self) -> tuple[Attack, ...]:
        """The members in order."""
        return tuple(getattr(self, name) for name in type(self).model_fields)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The members, which do not start from each other's results."""
        return self.members

    @property
    def stages(self) -> tuple[Attack, ...]:
        """The stages of all members."""
        return tuple(chain.from_iterable(member.stages for member in self.members))

    def lengthened(self, factor: int) -> Self:
        """The same ensemble with ``factor`` times the steps of each member that has steps."""
        longer: dict[str, Attack] = {}
        for name, member in zip(type(self).model_fields, self.members, strict=True):
            has = any(length in type(member).model_fields for length in member.lengths)
            longer[name] = member.lengthened(factor) if has else member
        return self.model_copy(update=longer)

    @property
    def required(self) -> frozenset[Need]:
        """What any member requires, except sources: a member without sources adds nothing."""
        return super().required - {"sources"}

    @property
    def full_version(self) -> str:
        """The version, with the versions of the members."""
        members = ", ".join(f"{member.name} {member.full_version}" for member in self.members)
        return f"{self.version} ({members})"

    @property
    def source_patterns(self) -> tuple[str, ...]:
        """The source patterns of all members."""
        return tuple(chain.from_iterable(member.source_patterns for member in self.members))

    def with_sources(self, names: tuple[str, ...]) -> Self:
        """The same ensemble, with the names of the sources passed to each member."""
        members = zip(type(self).model_fields, self.members, strict=True)
        return self.model_copy(update={name: one.with_sources(names) for name, one in members})


class SpikingAutoAttack(EnsembleAttack):
    """The headline ensemble for any model; ``transfer`` adds nothing if there is no source.

    Each member searches only below the minimal ε that the earlier ones found. So the ensemble is on
    no sample weaker than ``spgd``.
    """

    name: ClassVar[str] = "spiking-autoattack"
    version: ClassVar[int] = 2  # a member searches below the results of the earlier ones
    gradients: ClassVar[Gradients] = "chosen"

    # the order of the fields is the order in which they run
    spgd: SPGD = SPGD()
    transfer: Transfer = Transfer()
    apgd_t: SurrogateAPGDT = SurrogateAPGDT()
    square: Square = Square()

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The ensemble, whose members go on from each other's results."""
        return (self,)


class AutoAttack(EnsembleAttack):
    """The standard ensemble with its standard settings (Croce and Hein, ICML 2020)."""

    name: ClassVar[str] = "autoattack"
    version: ClassVar[int] = 2
    least_classes: ClassVar[int] = APGDT.least_classes

    apgd_ce: APGDCE = APGDCE()
    apgd_t: APGDT = APGDT()
    fab_t: FABT = FABT()
    square: Square = Square(rescale=False)
