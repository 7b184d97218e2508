"""Stands in the package's way where a file of it is run or loaded by its path, and lets the package take its place.

`python flows/serve.py`, Prefect's entrypoints and workers of a cluster look for modules in this folder, where
`import flows` finds this one: the package is installed nowhere, it lies in the checkout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
del sys.modules["flows"]

import flows  # noqa: E402, F401  the package, for whoever asked
