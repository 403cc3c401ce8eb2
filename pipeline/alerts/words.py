"""What the statements of doctor and of alerts are asked with, and how their rows are said."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.config import RuntimeConfig
from pipeline.log import span


def worded(text: str, row: Mapping[str, Any]) -> str:
    """``text`` with the columns of ``row``: intervals as ``12 min``, times in UTC, arrays separated by commas."""
    return text.format_map({name: _plainly(value) for name, value in row.items()})


def parameters(config: RuntimeConfig) -> Mapping[str, Any]:
    """As far as the configuration says it."""
    alerts = config.alerts
    return {
        "paused": config.paused,
        "sweep_seconds": config.sweep.interval_seconds,
        "quiet_seconds": config.queue.quiet_seconds,
        "deadline_seconds": config.queue.deadline_seconds,
        "backoff_seconds": config.queue.backoff_cap_seconds,
        "lock_seconds": config.sync.lock_seconds,
        "move_after_days": config.history.move_after_days,
        "move_failed_after_days": config.history.move_failed_after_days,
        "failed_jobs": alerts.failed_jobs,
        "failed_jobs_critical": alerts.failed_jobs_critical,
        "retry_percent": alerts.retry_percent,
        "retry_jobs": alerts.retry_jobs,
        "gas_days": alerts.gas_days,
        "budget_percent": alerts.budget_percent,
        "error_count": alerts.error_count,
        "lock_ended_seconds": alerts.lock_ended_seconds,
        "transaction_seconds": alerts.transaction_seconds,
    }


def _plainly(value: Any) -> Any:
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return value
