"""The settings: what each is, how it is read, and what people read of it."""

from genesis_etl.settings.accounts import DEFAULT_ACCOUNT, TOKEN_VARIABLES, Account
from genesis_etl.settings.readers import DEFAULT_ENDPOINT, duration_of, lake_url, s3_endpoint
from genesis_etl.settings.secret import Hook, Secret
from genesis_etl.settings.settings import DEFAULT_CONFIG, SETTINGS, Settings, Thresholds, alarm_hook

__all__ = [
    "DEFAULT_ACCOUNT",
    "DEFAULT_CONFIG",
    "DEFAULT_ENDPOINT",
    "SETTINGS",
    "TOKEN_VARIABLES",
    "Account",
    "Hook",
    "Secret",
    "Settings",
    "Thresholds",
    "alarm_hook",
    "duration_of",
    "lake_url",
    "s3_endpoint",
]
