"""The networks of the published models, built from the ``[model]`` table of a card.

Names are imported when they are first used: a card is read without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
