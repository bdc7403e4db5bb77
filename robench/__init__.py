"""An adversarial-robustness benchmark for spiking networks and the ANNs they are compared with.

Names are imported when they are first used, so that ``import robench`` stays light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
