"""The records of cells and of analyses, and the stores that keep them.

Names are imported when they are first used: a record needs neither pandas nor pyarrow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
