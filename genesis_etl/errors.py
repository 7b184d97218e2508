"""The errors of genesis-etl, as a tree by what the caller can do about them.

    GenesisEtlError
    ├── SettingsError          mend the settings, the option or the clock        exit 2
    ├── ApiError               the API's side of a capture
    │   ├── AuthError          mend the token                                    exit 3
    │   ├── ApiUnavailable     try again later                                   exit 4
    │   ├── CollectionRefused  403 or 404 for a whole collection                 exit 2, 3 or 5
    │   └── BadPage            the answer cannot be used                         exit 5
    │       └── PageMissing    400 or 404 for a page after the first             exit 5
    ├── CaptureError           the answers are readable, but make no capture     exit 5
    │   └── ListMoved          the list did not hold still                       exit 5
    ├── LakeError              look at the lake: full, damaged, unreadable       exit 6
    │   └── LakeMoved          files went while they were read                   exit 6
    ├── ReportError            mend the report's name, a parameter or the SQL    exit 2
    ├── ChecksFailed           see to the rows that failed                       exit 1
    └── ExportFailed           some accounts failed; carries what landed         that of the first

Every error has three fields, from which its one line is made here and nowhere else: `where: seen; advice`.

    BadPage("404 Not Found", where="GET /images page 2, attempt 1 of 4", advice="check the endpoint setting")

Whoever shows an error in parts (a row, JSON, the webhook) reads the fields; nobody takes a line apart again. No field
holds a secret, whatever it is made of: each passes the gate of `redact` when it is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genesis_etl.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BadValue(ValueError):
    """A text that cannot be read as what it should be; whoever knows where it stood makes an error of it.

    `seen` and `advice` are as in GenesisEtlError.
    """

    def __init__(self, seen: str, advice: str | None = None) -> None:
        self.seen = redact(seen)
        self.advice = advice
        super().__init__(self.seen + (f"; {advice}" if advice else ""))


class GenesisEtlError(Exception):
    """Anything that genesis-etl refuses; `exit_code` is what the command ends with.

    `seen` is what was seen, `where` the path, page, attempt or setting (None where `seen` says it), `advice` what to
    do next.
    """

    exit_code = 2

    def __init__(self, seen: str, *, where: str | None = None, advice: str | None = None) -> None:
        self.seen = seen
        self.where = where
        self.advice = advice
        super().__init__(self.seen)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, redact(value) if isinstance(value, str) else value)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.seen}" + (f"; {self.advice}" if self.advice else "")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross processes on a cluster, and pickle knows no keyword arguments.
        return _rebuilt, (type(self), self.args, self.__dict__)


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


class PageMissing(BadPage):
    """The API answers 400 or 404 for a page after the first: there is none, or no longer."""

    def __init__(self, seen: str, *, status: int, where: str | None = None, advice: str | None = None) -> None:
        super().__init__(seen, where=where, advice=advice)
        self.status = status


class CollectionRefused(ApiError):
    """The API answers 403 or 404 for a whole collection; of /instances, 403 for any of its pages."""

    def __init__(
        self, seen: str, *, status: int, exit_code: int, where: str | None = None, advice: str | None = None
    ) -> None:
        super().__init__(seen, where=where, advice=advice)
        self.status = status
        self.exit_code = exit_code


class CaptureError(GenesisEtlError):
    """The answers make no capture that could be believed."""

    exit_code = 5


class ListMoved(CaptureError):
    """The list did not hold still while it was read."""


class LakeError(GenesisEtlError):
    """The lake could not be written or read."""

    exit_code = 6


class LakeMoved(LakeError):
    """Files went, again and again, while they were read: compactions without a grace run beside."""


class ReportError(GenesisEtlError):
    """A report, a parameter of one, or a SQL statement is not usable."""


class ChecksFailed(GenesisEtlError):
    """At least one check failed; the message names them."""

    exit_code = 1


class ExportFailed(GenesisEtlError):
    """At least one account could not be captured; what landed stays landed.

    `landed` holds the captures of the accounts that succeeded, `failed` maps account → its error, `fresh` names the
    accounts whose newest capture was young enough, all in the order of the settings.
    """

    def __init__(self, landed: Sequence[Any], failed: Mapping[str, GenesisEtlError], fresh: Sequence[str] = ()) -> None:
        self.landed = list(landed)
        self.failed = dict(failed)
        self.fresh = list(fresh)
        first = next(iter(self.failed.values()))
        self.exit_code = first.exit_code
        if len(self.failed) == 1 and not self.landed and not self.fresh:
            super().__init__(first.seen, where=first.where, advice=first.advice)
        else:
            super().__init__("; ".join(f"account {name}: {error}" for name, error in self.failed.items()))


def _rebuilt(kind: type[GenesisEtlError], args: tuple[Any, ...], fields: dict[str, Any]) -> GenesisEtlError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error
