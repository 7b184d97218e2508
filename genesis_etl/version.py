"""The version, which captures carry."""

from typing import Final

__version__: Final = "0.1.0"
