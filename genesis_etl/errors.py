"""The errors of genesis-etl, as a tree by what the caller can do about them.

    GenesisEtlError
    ├── SettingsError          mend the settings, the option or the clock        exit 2
    ├── ApiError               the API's side of a capture
    │   ├── AuthError          mend the token                                    exit 3
    │   ├── ApiUnavailable     try again later                                   exit 4
    │   ├── CollectionRefused  403 or 404 for a whole collection                 exit 2, 3 or 5
    │   └── BadPage            the answer cannot be used                         exit 5
    ├── CaptureError           the answers are readable, but make no capture     exit 5
    │   └── ListMoved          the list did not hold still                       exit 5
    ├── LakeError              look at the lake: full, damaged, unreadable       exit 6
    ├── ReportError            mend the report's name, a parameter or the SQL    exit 2
    ├── ChecksFailed           see to the rows that failed                       exit 1
    └── ExportFailed           some accounts failed; carries what landed         that of the first

Every message is one line: what was seen, where, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class GenesisEtlError(Exception):
    """Anything that genesis-etl refuses; `exit_code` is what the command ends with."""

    exit_code = 2


class SettingsError(GenesisEtlError):
    """A setting, an option or the clock is not usable."""


class ApiError(GenesisEtlError):
    """The API did not give a usable answer."""

    exit_code = 5


class AuthError(ApiError):
    """The API refused the token."""

    exit_code = 3


class ApiUnavailable(ApiError):
    """The API could not be reached, or stayed overloaded."""

    exit_code = 4


class BadPage(ApiError):
    """An answer that cannot be used as it is."""


class CollectionRefused(ApiError):
    """The API answers 403 or 404 for a whole collection."""

    def __init__(self, message: str, *, status: int, exit_code: int) -> None:
        super().__init__(message)
        self.status = status
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross processes on a cluster, and pickle knows no keyword arguments.
        return _collection_refused, (str(self), self.status, self.exit_code)


class CaptureError(GenesisEtlError):
    """The answers make no capture that could be believed."""

    exit_code = 5


class ListMoved(CaptureError):
    """The list did not hold still while it was read."""


class LakeError(GenesisEtlError):
    """The lake could not be written or read."""

    exit_code = 6


class ReportError(GenesisEtlError):
    """A report, a parameter of one, or a SQL statement is not usable."""


class ChecksFailed(GenesisEtlError):
    """At least one check failed; the message names them."""

    exit_code = 1


class ExportFailed(GenesisEtlError):
    """At least one account could not be captured; what landed stays landed.

    `landed` holds the captures of the accounts that succeeded, `failed` maps account → its error,
    both in the order of the settings.
    """

    def __init__(self, landed: Sequence[Any], failed: Mapping[str, GenesisEtlError]) -> None:
        self.landed = list(landed)
        self.failed = dict(failed)
        first = next(iter(self.failed.values()))
        self.exit_code = first.exit_code
        if len(self.failed) == 1 and not self.landed:
            message = str(first)
        else:
            message = "; ".join(f"account {name}: {error}" for name, error in self.failed.items())
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return ExportFailed, (self.landed, self.failed)


def _collection_refused(message: str, status: int, exit_code: int) -> CollectionRefused:
    return CollectionRefused(message, status=status, exit_code=exit_code)
