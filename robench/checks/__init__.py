"""The checks that a verdict rests on, each with its figure and threshold on record.

Sources: Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018; Carlini
et al., On evaluating adversarial robustness, 2019; Croce and Hein, AutoAttack, ICML 2020.

Names are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
