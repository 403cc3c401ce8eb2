"""Configuration that lives in the database and changes while the system runs.

``runtime`` holds the keys of system_config, ``terms`` the thresholds, policies and limits that are columns of chains
and asset_on_chain.
"""

from pipeline.config.errors import ConfigError
from pipeline.config.runtime import (
    CleanupConfig,
    ConfigEntry,
    NotifyConfig,
    QueueConfig,
    RuntimeConfig,
    SweepConfig,
    SyncConfig,
)

__all__ = [
    "CleanupConfig",
    "ConfigEntry",
    "ConfigError",
    "NotifyConfig",
    "QueueConfig",
    "RuntimeConfig",
    "SweepConfig",
    "SyncConfig",
]
