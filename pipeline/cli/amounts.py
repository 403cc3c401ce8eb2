"""Amounts as options of commands: in human units, with the symbol of their asset."""

from pipeline.cli.output import usage
from pipeline.config import ConfigError
from pipeline.config.terms import human_amount
from pipeline.units import InvalidAmount


def raw_amount(option: str, text: str, symbol: str, decimals: int) -> int:
    """Raw units. Raises CommandError."""
    try:
        raw = human_amount(option, text, symbol, decimals)
    except (ConfigError, InvalidAmount) as error:
        raise usage(str(error)) from None
    if raw is None:
        raise usage(f"{option} {text!r}: name the asset with it, such as '{text} {symbol}'")
    return raw


def option_of(name: str) -> str:
    """``--flag-above`` of ``flag_above``."""
    return f"--{name.replace('_', '-')}"
