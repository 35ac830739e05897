"""Settings: what the environment may say, read once, each value with its origin."""

from portico.kit.settings.addresses import DatabaseAddress, database_for, is_loopback, replica_for, servers_in
from portico.kit.settings.masking import MASK, mask_url, masked
from portico.kit.settings.model import BROKERS, ServiceSettings, Settings
from portico.kit.settings.reading import AlsoSpelled, Read, Setting, SettingsError, read_settings
from portico.kit.settings.secrets import Secrets, check_server_passwords, embedded_secrets, is_private, secrets_for
from portico.kit.settings.values import Bytes, Rate, Seconds, Secret, parse_duration, parse_size

__all__ = [
    "BROKERS",
    "MASK",
    "AlsoSpelled",
    "Bytes",
    "DatabaseAddress",
    "Rate",
    "Read",
    "Seconds",
    "Secret",
    "Secrets",
    "ServiceSettings",
    "Setting",
    "Settings",
    "SettingsError",
    "check_server_passwords",
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
]
