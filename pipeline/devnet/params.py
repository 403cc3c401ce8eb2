"""What a network charges. Part of every block's environment, so a change of price is part of its history."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Params:
    """Chain parameters, with mainnet's values as defaults."""

    energy_fee: int = 100
    """Sun per energy (getEnergyFee)."""
    transaction_fee: int = 1_000
    """Sun per byte of bandwidth (getTransactionFee)."""
    activation_fee: int = 1_000_000
    """Sun for a new account (getCreateNewAccountFeeInSystemContract)."""
    activation_bandwidth_fee: int = 100_000
    """Sun instead of bandwidth for a transfer that creates an account (getCreateAccountFee)."""
    memo_fee: int = 1_000_000
    """Sun for a transaction that carries a note (getMemoFee)."""
    permission_fee: int = 100_000_000
    """Sun for new permissions (getUpdateAccountPermissionFee)."""
    multi_sign_fee: int = 1_000_000
    """Sun for a transaction with more than one signature (getMultiSignFee)."""
    free_net_limit: int = 600
    """Bytes an account may use free of charge in a day."""
    energy_factor: int = 0
    """The least dynamic energy factor that every contract has, in 1/10,000: 34,000 is what USDT has on mainnet
    (×4.4)."""
    dynamic_energy_threshold: int = 5_000_000_000
    """Energy that a contract may use in a maintenance period before its factor rises (getDynamicEnergyThreshold)."""
    dynamic_energy_increase: int = 2_000
    """By how much it rises then, in 1/10,000 (getDynamicEnergyIncreaseFactor)."""
    dynamic_energy_max: int = 34_000
    """The highest factor (getDynamicEnergyMaxFactor)."""
    maintenance_interval: int = 21_600_000
    """Milliseconds, more than 0 (getMaintenanceTimeInterval)."""
    account_energy: int = 0
    """Energy every account has of its own per day, as if it had staked. Used up before TRX is burned."""

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any], base: "Params") -> "Params":
        """``base`` with the values given. Raises ValueError naming the parameter that is unknown or out of range."""
        values = base.to_json()
        for name, value in body.items():
            if name not in {field.name for field in fields(cls)}:
                raise ValueError(f"unknown chain parameter {name}: one of {', '.join(sorted(values))}")
            least = 1 if name == "maintenance_interval" else 0
            if type(value) is not int or value < least:
                raise ValueError(f"chain parameter {name} must be a whole number of at least {least}, not {value!r}")
            values[name] = value
        return cls(**values)


@dataclass(frozen=True, slots=True)
class BlockEnv:
    """What a transaction sees of the block it is executed in."""

    number: int
    timestamp: int
    """Milliseconds."""
    params: Params
