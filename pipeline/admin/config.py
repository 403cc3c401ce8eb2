"""What operators say while the system runs: settings of the whole system, and rules of chains and tokens."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from pipeline.admin.errors import InvalidValue
from pipeline.admin.refusals import in_words
from pipeline.config import ConfigError, RuntimeConfig


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """One setting, before and after; the same where nothing changed. Amounts in human units with their symbol."""

    key: str
    before: Any
    value: Any


async def set_value(
    connection: AsyncConnection[Any], key: str, value: Any, *, admin: UUID | None = None
) -> ChangedSetting:
    """Write one setting: a key such as ``sweep.interval_seconds`` or ``tron.gas_amount``. Processes that run obey at
    the commit. Raises InvalidValue for an unknown key, or a value it cannot take."""
    try:
        async with connection.transaction():
            before = await _in_force(connection, key)
            await RuntimeConfig.set(connection, key, value, admin=admin)
            return ChangedSetting(key, before, await _in_force(connection, key))
    except ConfigError as error:
        see = "" if "flagpost config show" in str(error) else "; see: flagpost config show"
        raise InvalidValue(str(error), f"nothing was changed{see}") from None
    except psycopg.Error as error:
        raise in_words(error) or error from None


async def _in_force(connection: AsyncConnection[Any], key: str) -> Any:
    return {entry.key: entry.value for entry in await RuntimeConfig.describe(connection)}.get(key)
