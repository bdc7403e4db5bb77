"""A closer look at stored robustness: models, attacks and adversarial examples compared."""
