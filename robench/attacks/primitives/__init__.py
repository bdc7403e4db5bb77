"""Building blocks of attacks: losses, norms and per-sample arithmetic."""
