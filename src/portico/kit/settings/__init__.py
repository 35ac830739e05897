"""Settings: read once from the environment and `.env`, each value with its origin."""

from portico.kit.settings.addresses import DatabaseAddress, database_for, is_loopback, replica_for, servers_in
from portico.kit.settings.environment import Environment
from portico.kit.settings.errors import SettingsError
from portico.kit.settings.fields import (
    BySuffix,
    Converted,
    Generated,
    NamesServer,
    ServiceSettings,
    all_variables,
    check_variables,
    variables_of,
)
from portico.kit.settings.masking import MASK, mask_url, masked
from portico.kit.settings.model import BROKERS, Settings
from portico.kit.settings.secrets import (
    Secrets,
    check_server_passwords,
    check_settings,
    embedded_secrets,
    is_private,
    secrets_for,
    with_secrets,
)
from portico.kit.settings.sources import LoadedSettings, Setting, read_settings
from portico.kit.settings.values import Bytes, Rate, Seconds, Secret, parse_duration, parse_size

__all__ = [
    "BROKERS",
    "MASK",
    "BySuffix",
    "Bytes",
    "Converted",
    "DatabaseAddress",
    "Environment",
    "Generated",
    "LoadedSettings",
    "NamesServer",
    "Rate",
    "Seconds",
    "Secret",
    "Secrets",
    "ServiceSettings",
    "Setting",
    "Settings",
    "SettingsError",
    "all_variables",
    "check_server_passwords",
    "check_settings",
    "check_variables",
    "database_for",
    "embedded_secrets",
    "is_loopback",
    "is_private",
    "mask_url",
    "masked",
    "parse_duration",
    "parse_size",
    "read_settings",
    "replica_for",
    "secrets_for",
    "servers_in",
    "variables_of",
    "with_secrets",
]
