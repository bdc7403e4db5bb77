"""The registry of models and attacks: cards, entry points, loading.

Names are imported when they are first used: a list of models needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
