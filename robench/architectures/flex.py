"""The plastic flexible layer: each unit mixes selectivity and invariance.

A convolution C (selective) and a max pooling P (invariant) have the same input. A mask m, computed
from P and from an adaptation η that changes over time, mixes them: ``u = m·C + (1 − m)·P``.
The layer follows the formulae of Evanson et al. (2023) and of its plastic successor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robench.architectures.config import FlexConfig
from robench.architectures.flex_training import Plasticity, mix, moments
from robench.architectures.fused_flex import ETA_LIMIT, NINE, Flex, flex
from robench.architectures.fusion import Folded, fold, is_frozen
from robench.architectures.pooling import max_pool
from robench.spiking import PathModule, full_precision, is_constant, kernels, over_time

CONSTANT = {"half": 0.5, "zero": 0.0}
"""Masks that route nothing."""


class PlasticFlexLayer(PathModule):
    """A 3×3 convolution with batch norm, mixed with a 3×3 max pooling by a mask.

    ``m = σ(a·(BN₀(P) − θ) + η(t))``; a large m selects the convolution. Output channel c of P is
    input channel c mod ``in_channels``.

    Attributes:
        theta: θ, trained, shape (1, C, 1, 1).
        gain: a, trained, shape (1, C, 1, 1).
        eta: η(1), a buffer of shape (C,), which only training updates.
    """

    eta: Tensor
    source: Tensor

    def __init__(self, in_channels: int, out_channels: int, config: FlexConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.pool_norm = nn.BatchNorm2d(out_channels, affine=False)
        self.gain = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.theta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        if config.threshold == "frozen":
            self.gain.requires_grad_(False)
            self.theta.requires_grad_(False)
        self.register_buffer("eta", torch.zeros(out_channels))
        source = torch.arange(out_channels) % in_channels
        self.register_buffer("source", source, persistent=False)
        self._folded: Folded | None = None
        self.sparse = False

    def forward(self, x: Tensor) -> Tensor:
        """Mixed responses ``(T, N, C, H, W)`` to an input ``(T, N, C_in, H, W)``."""
        timesteps = x.shape[0]
        x = full_precision(x)
        if is_constant(x):
            x = x[:1]  # C, P and the logits are equal in all steps: computed once
        plain = self.config.sigmoid != "hard" or self.config.threshold == "redrawn"
        if not plain and is_frozen(self) and kernels.usable(x):
            return flex(x, self._frozen(), timesteps)
        if not plain and self._fast_training(x):
            return self._trained(x, timesteps)
        selective = full_precision(over_time(lambda y: self.norm(self.conv(y)), x))
        invariant = over_time(self._pool, x)
        logits = over_time(self._logits, invariant)
        eta = self._adaptation(selective, invariant, timesteps)
        mask = self.mask(logits + eta[..., None, None])
        u = torch.addcmul(invariant, mask, selective - invariant)
        return u if u.shape[0] == timesteps else u.expand(timesteps, *u.shape[1:])

    def _frozen(self) -> Flex:
        self._folded = fold(self.conv, self.norm, self._folded)
        mean, variance = self.pool_norm.running_mean, self.pool_norm.running_var
        assert mean is not None
        assert variance is not None
        gain, offset = self._line(mean, variance)
        return Flex(
            conv=self._folded,
            gain=gain,
            offset=offset,
            eta=self.eta,
            plasticity=self.config.plasticity,
            through_plasticity=self.gradient_path.through_plasticity,
            sparse=self.sparse,
        )

    def _line(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and offset ``(C,)`` of the mask's logits in P, for these statistics of P."""
        gain = self.gain.flatten() / torch.sqrt(variance + self.pool_norm.eps)
        return gain, -gain * mean - (self.gain * self.theta).flatten()

    def _fast_training(self, x: Tensor) -> bool:
        """Whether training on ``x`` can use the kernels."""
        on_cpu = x.device.type == "cpu"
        return self.training and self.pool_norm.training and on_cpu and kernels.usable(x)

    def _trained(self, x: Tensor, timesteps: int) -> Tensor:
        """The same in training, by kernels."""
        steps, n = x.shape[:2]
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        selective = full_precision(self.norm(self.conv(images)))
        selective = selective.contiguous(memory_format=torch.channels_last)
        pooled = max_pool(images, NINE)
        mean, variance = (values[self.source] for values in moments(pooled))
        self._track(mean, variance, images[:, 0].numel())
        gain, offset = self._line(mean, variance)
        how = Plasticity(self.eta, self.config.plasticity, self.gradient_path.through_plasticity)
        selective = selective.view(steps, n, *selective.shape[1:])
        pooled = pooled.view(steps, n, *pooled.shape[1:])
        u, eta = mix(selective, pooled, gain, offset, how, timesteps)
        if self.config.plasticity:
            with torch.no_grad():
                self.eta.lerp_((eta - self.eta).mean(0), self.config.kappa)
        return u

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics of the pooling's norm, as batch norm does in training."""
        norm = self.pool_norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        share = norm.momentum
        if share is None:  # a plain average
            share = 1 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance * count / (count - 1), share)

    def mask(self, z: Tensor) -> Tensor:
        """``σ(z)``, hard or soft, or a constant, according to the card."""
        if self.config.sigmoid == "soft":
            return torch.sigmoid(z)
        if self.config.sigmoid in CONSTANT:
            return torch.full_like(z, CONSTANT[self.config.sigmoid])
        # not F.hardsigmoid, whose backward pass has 1/6 in float32
        return (z / 6 + 0.5).clamp(0, 1)

    def _pool(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1)
        return pooled if len(self.source) == x.shape[1] else pooled[:, self.source]

    def _logits(self, invariant: Tensor) -> Tensor:
        theta: Tensor = self.theta
        if self.config.threshold == "redrawn":
            theta = torch.randn(1, *invariant.shape[1:], dtype=theta.dtype, device=theta.device)
        logits: Tensor = self.gain * (self.pool_norm(invariant) - theta)
        return logits

    def _adaptation(self, selective: Tensor, invariant: Tensor, timesteps: int) -> Tensor:
        """η(1) … η(T), ``(T, N, C)``, or ``(1, 1, C)`` if η is constant."""
        rate = self.config.plasticity
        start = self.eta.to(selective.dtype)
        if rate == 0 or (timesteps == 1 and not self.training):
            return start[None, None]
        drift = selective.abs().mean((-1, -2)) - invariant.abs().mean((-1, -2))
        if not self.gradient_path.through_plasticity:
            drift = drift.detach()
        eta = start.expand(drift.shape[1:])
        steps = []
        for t in range(timesteps):
            steps.append(eta)
            eta = (eta + rate * drift[min(t, len(drift) - 1)]).clamp(-ETA_LIMIT, ETA_LIMIT)
        found = torch.stack(steps)  # before η₀ changes: the first step is a view of it
        if self.training:
            with torch.no_grad():
                moved = (eta - start).mean(0).to(self.eta.dtype)
                self.eta.lerp_(moved, self.config.kappa)
        return found

    def extra_repr(self) -> str:
        """The sigmoid and λ."""
        return f"sigmoid={self.config.sigmoid}, plasticity={self.config.plasticity}"
