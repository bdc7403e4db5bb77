"""Made-up results of every part of the speed measurements."""

from __future__ import annotations

from typing import Any


def results(*, speed: float = 1.0) -> dict[str, Any]:
    """Made-up results of every part, in which robench is ``speed`` times as fast as it was."""
    options = {"width": 0.25, "timesteps": 10, "batch": 64, "repetitions": 11, "steps": 20}
    part = {"date": "2026-01-01", "options": options | {"sweep_repetitions": 1}}
    times = {"robench": 300.0 / speed, "snnTorch": 650.0, "SpikingJelly": 900.0}
    row = {
        "architecture": "vgg16",
        "reset": "zero",
        "model": "",
        "timesteps": 10,
        "convolutions_ms": {"float32, NHWC, 16 images": 245.0, "bfloat16, NHWC, 16 images": 132.0},
        "membranes_mb": 169.0,
        "firing_rates": [0.2, 0.1],
        "sameness": {
            peer: {"logits": 1e-16, "gradient": 1e-16, "agreement": 1.0, "void": ""}
            for peer in ("snnTorch", "SpikingJelly")
        },
        "skipped": {},
        "ms": times,
        "all_ms": {name: [ms, ms] for name, ms in times.items()},
        "memory_mb": {"robench": 600.0 / speed, "snnTorch": 1000.0, "SpikingJelly": 1100.0},
    }
    late = row | {"reset": "subtract", "skipped": {"SpikingJelly": "subtracts at once"}}
    base = {"compile_seconds": 1.0, "gradients": 70.0, "forwards": 12.0}
    tables = [
        {
            "role": role,
            "model": f"digits/vgg16-{role.lower()}",
            "asked": f"cifar10/vgg16-{role.lower()}",
            "images": 256,
            "grid": ["0", "8/255"],
            "rows": [
                base
                | {"competitor": "pgd", "column": "", "seconds": 30.0 / speed}
                | {"accuracy": [0.9, 0.25]},
                base
                | {"competitor": "Foolbox", "column": "their network", "seconds": 570.0}
                | {"gradients": 220.0, "accuracy": [0.9, 0.25]},
                {"competitor": "ART", "column": "their network", "skipped": "not installed"},
            ],
        }
        for role in ("STBP", "ANN")
    ]
    stored = {"model": "", "task": "start-up", "seconds": 1.0, "processor_seconds": 0.5}
    stored |= {"memory_mb": 11.0}
    cell = {"model": "digits/vgg16-ann", "attack": "pgd", "images": 256, "passes": 300}
    cell |= {"seconds": 3.0, "bare_seconds": 2.8 * speed, "overhead": 3.0 / 2.8 / speed}
    sought = [
        {
            "model": f"digits/{name}",
            "attack": "pgd",
            "images": 1000,
            "gradients": {"fast": 40.0, "ascending": 120.0},
            "above": [0.0, above, -0.05],
            "low": [0.0, above - 0.01, -0.06],
            "high": [0.0, above + 0.01, -0.04],
        }
        for name, above in (("vgg16-ann", 0.01), ("flex-stbp", 0.028))
    ]
    names = ("plain PyTorch", "robench, own gradient", "robench, spikes replaced")
    taken = {
        "model": "",
        "rows": 64,
        "spikes": "spikes of snntorch.surrogate.ATan (38 calls)",
        "ms": dict(zip(names, (100.0, 102.0, 106.0 / speed), strict=True)),
        "ratio": dict(zip(names, (1.0, 1.02, 1.06 / speed), strict=True)),
        "interval": {name: (0.98, 1.2) for name in names},
    }
    own = tables[0] | {"role": "a user's network", "model": "a network", "asked": "a network"}
    own["rows"] = own["rows"][:2]
    grown = {"what": "images", "model": "digits/vgg16-stbp", "exponent": 1.0}
    shared = {"executor": "process", "cells": 18, "images": 225, "same": True, "seconds": 5.5}
    return {
        "machine": {"CPU": "a CPU"},
        "quick": False,
        "gradient": part | {"rows": [row, late], "trained_rates": {"digits/vgg16-stbp": [0.1]}},
        "sweep": part | {"tables": tables},
        "search": part | {"rows": sought},
        "overhead": part | {"rows": [cell | {"rows_of_a_pass": 50.0}]},
        "checks": part | {"rows": [cell | {"of_model": 0.1, "of_cell": 0.1, "share": 0.12}]},
        "users": part | {"rows": [taken], "tables": [own]},
        "store": part | {"rows": [stored | {"cells": 2000}, stored | {"cells": 20000}]},
        "growth": part | {"rows": [grown | {"sizes": [1, 2], "seconds": [1.0, 2.0]}]},
        "workers": part
        | {"rows": [shared | {"workers": 1, "seconds": 10.0}, shared | {"workers": 2}]},
        "strength": part
        | {"options": options | {"lengths": [0.5, 1, 2]}}
        | {"tables": [strength_table(role) for role in ("STBP", "ANN")]},
    }


def strength_table(role: str, images: int = 64) -> dict[str, Any]:
    """A model of the strength part: longer runs are slower and stronger."""
    attacks = {
        "spgd": (140, 12.0, 0.36),
        "sapgd, its authors' settings": (100, 9.0, 0.41),
        "sapgd, assg_scaled(0.425)": (140, 12.5, 0.38),
        "apgd-ce": (100, 8.5, 0.45),
    }
    rows = [
        {"label": label, "attack": "", "steps": round(k * steps), "default": k == 1}
        | {"competitor": "", "column": "", "version": "7", "compile_seconds": 0.0}
        | {"seconds": 5 + k * seconds, "check_seconds": 4.0, "forwards": 12.0}
        | {"gradients": 0.5 * k * steps, "accuracy": [0.8, floor + 0.04 / k]}
        for k in (0.5, 1, 2)
        for label, (steps, seconds, floor) in attacks.items()
    ]
    rows += [
        {"label": "Foolbox PGD", "attack": "Foolbox", "steps": steps, "default": steps == 40}
        | {"competitor": "Foolbox", "column": "their network", "compile_seconds": 0.0}
        | {"seconds": 0.4 * steps, "gradients": float(steps), "forwards": 2.0}
        | {"accuracy": [0.8, 0.46 + 1.2 / steps]}
        for steps in (20, 40, 80, 160)
    ]
    model = f"cifar10/vgg16-{role.lower()}"
    named = {"role": role, "model": model, "asked": model, "epsilon": "1/255"}
    return named | {"images": images, "repetitions": 1, "rows": rows}
