"""The embedded API: a real HTTP server that speaks all three generations over an account that evolves."""

from genesis_etl.sandbox.account import Account
from genesis_etl.sandbox.faults import FAULTS, Fault
from genesis_etl.sandbox.server import Sandbox

__all__ = ["FAULTS", "Account", "Fault", "Sandbox"]
