"""The contract of attacks: base classes, state, model view, random numbers, estimators."""
