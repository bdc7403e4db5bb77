"""``python -m robench`` is ``robench``."""

from robench.cli import main

if __name__ == "__main__":
    main()
