"""What an attack is, and what it is given: attack, state, view, random numbers, estimators."""
