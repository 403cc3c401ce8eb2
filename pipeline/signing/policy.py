"""The policy of a host: which networks and contracts it signs for, where tokens go, and how much may leave in a day.

    hosts = 1                            # ceilings of a day are split between so many hosts

    [[network]]
    name = "bsc"                         # for messages
    family = "evm"                       # tron | evm
    id = "56"                            # chain id; TRON: genesis block id
    treasury = "0x…"                     # where tokens go; absent: our own address at index 1
    fee_max = "0.005"                    # coins: what one transaction may cost
    day_max = "2"                        # coins: amounts and fees of the gas wallet in 24 hours; fees of the others

    [[network.contract]]
    symbol = "USDT"                      # for messages
    address = "0x55d398326f99059fF775485246999027B3197955"
    gas_max = 150000                     # EVM: units of gas that one call may use

Networks and contracts that are not listed are not signed for. The networks that Flagpost ships (TRON, BSC, Ethereum
with USDT; Nile, BSC testnet and Sepolia without tokens) have a policy without a file; a section with the same family
and id replaces it. No row of the database changes any of this.
"""

import json
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.chains.errors import InvalidAddress
from pipeline.chains.families.addresses import validate_address
from pipeline.chains.values import Family
from pipeline.signing.errors import PolicyError, SigningRefused
from pipeline.signing.networks import COIN_DECIMALS, NAMED, Network, network_named
from pipeline.units import InvalidAmount, to_human, to_raw

GAS_MAX = 150_000
"""Units of gas that one call of a token may use where the policy does not say: twice what USDT's most expensive
transfer takes."""


@dataclass(frozen=True, slots=True)
class ContractPolicy:
    """A token contract that may be called."""

    address: str
    symbol: str
    gas_max: int | None = None
    """EVM: units of gas. None on TRON, where ``fee_max`` bounds the call."""


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What may be signed on one network; amounts in native raw units."""

    network: Network
    name: str
    """For messages."""
    fee_max: int
    """Of one transaction."""
    day_max: int
    """Of 24 hours, on this host: amounts and fees of the gas wallet; and by itself, fees of customers' wallets."""
    contracts: Mapping[str, ContractPolicy] = field(default_factory=dict)
    """By address in canonical form."""
    treasury: str | None = None
    """In canonical form; None: our own address at index 1."""
    source: str = "shipped"
    """Where it stands, for people."""

    def contract(self, address: str) -> ContractPolicy:
        """The policy of a token contract. Raises SigningRefused, naming what to write."""
        found = self.contracts.get(address)
        if found is None:
            raise SigningRefused(
                f"contract {address} is not in the signing policy of {self.name} ({self.network}) on this host: if it "
                "is "
                f"a token of yours, add it under [[network.contract]] of the policy file (flagpost policy draft)"
            )
        return found

    def human(self, raw: int) -> str:
        """``0.005``, in coins."""
        return to_human(raw, COIN_DECIMALS[self.network.family])


@dataclass(frozen=True, slots=True)
class Policy:
    """All that this host may sign."""

    networks: Mapping[Network, NetworkPolicy]
    hosts: int = 1
    pinned: frozenset[Network] = frozenset()
    """Networks whose treasury is pinned. As soon as one is, none is signed for without."""

    def of(self, network: Network, chain: str) -> NetworkPolicy:
        """The policy of a network, which a row of ``chains`` calls ``chain``. Raises PolicyError where there is
        none."""
        found = self.networks.get(network)
        if found is None:
            raise PolicyError(
                f"chain {chain} is network {network}, which is not in the signing policy of this host: nothing is "
                "signed "
                "for it. Add it to the policy file (flagpost policy draft shows how). If the row was changed, find "
                "out by whom"
            )
        if self.pinned and found.treasury is None:
            pinned = ", ".join(sorted(self.networks[one].name for one in self.pinned))
            raise PolicyError(
                f"chain {chain} ({network}) has no pinned treasury, and {pinned} has: set "
                f"{treasury_variable(network)}, or treasury in the policy file, to the address that consolidations go "
                "to"
            )
        return found


def treasury_variable(network: Network) -> str:
    """The variable that pins the treasury of a network: ``FLAGPOST_TREASURY_BSC``, ``FLAGPOST_TREASURY_EVM_97``."""
    name = next((name for name, known in NAMED.items() if known == network), f"{network.family}-{network.id}")
    return f"FLAGPOST_TREASURY_{name.upper().replace('-', '_')}"


def load_policy(file: Path | None, treasuries: Mapping[str, str]) -> Policy:
    """The policy in force: what is shipped, the file over it, and treasuries by the end of their variable (``bsc``,
    ``evm-56``). ``file`` None: there is none. Raises PolicyError."""
    given = _File() if file is None else _read(file)
    networks = {network.network: network for network in _shipped()}
    networks |= {one.network: one for one in _sections(file, given)}
    networks = _with_treasuries(networks, treasuries)
    share = {network: replace(one, day_max=one.day_max // given.hosts) for network, one in networks.items()}
    pinned = frozenset(network for network, one in share.items() if one.treasury is not None)
    return Policy(share, given.hosts, pinned)


def to_toml(networks: Sequence[NetworkPolicy]) -> str:
    """Networks as sections of a policy file."""
    lines: list[str] = []
    for one in networks:
        lines += ["[[network]]", f"name = {_quoted(one.name)}", f"family = {_quoted(one.network.family)}"]
        lines += [f"id = {_quoted(one.network.id)}"]
        if one.treasury is not None:
            lines.append(f"treasury = {_quoted(one.treasury)}")
        lines += [f"fee_max = {_quoted(one.human(one.fee_max))}", f"day_max = {_quoted(one.human(one.day_max))}", ""]
        for contract in one.contracts.values():
            lines += ["[[network.contract]]", f"symbol = {_quoted(contract.symbol)}"]
            lines.append(f"address = {_quoted(contract.address)}")
            lines += [] if contract.gas_max is None else [f"gas_max = {contract.gas_max}"]
            lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are among TOML's."""
    return json.dumps(text)


def _is_amount(text: str) -> str:
    if not any(digit in "123456789" for digit in text):
        raise ValueError('an amount above 0, in coins, such as "0.005"')
    return text


_Coins = Annotated[str, AfterValidator(_is_amount)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Contract(_Section):
    address: str
    symbol: str = "token"
    gas_max: int | None = Field(default=None, ge=21_000, le=30_000_000)


class _Network(_Section):
    name: str = Field(min_length=1, max_length=64)
    family: str
    id: str
    treasury: str | None = None
    fee_max: _Coins
    day_max: _Coins
    contract: list[_Contract] = []


class _File(_Section):
    hosts: int = Field(default=1, ge=1, le=1000)
    network: list[_Network] = []


def _read(file: Path) -> _File:
    """Raises PolicyError naming file and field."""
    try:
        text, mode = file.read_text(encoding="utf-8"), file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {file} cannot be read: {error}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PolicyError(f"policy file {file} can be written by other users: run chmod go-w {file}")
    try:
        return _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"policy file {file} is not TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors(include_url=False)
        )
        raise PolicyError(f"policy file {file}: {wrong}") from None


def _sections(file: Path | None, given: _File) -> list[NetworkPolicy]:
    found: dict[Network, NetworkPolicy] = {}
    for section in given.network:
        where = f"policy file {file}: network {section.name}"
        try:
            policy = _section(section, str(file))
        except (ValueError, InvalidAddress) as error:
            raise PolicyError(f"{where}: {error}") from None
        if policy.network in found:
            raise PolicyError(f"{where}: {policy.network} has a section already")
        found[policy.network] = policy
    return list(found.values())


def _section(section: _Network, source: str) -> NetworkPolicy:
    """Raises ValueError, InvalidAddress."""
    network = Network.of(section.family, section.id)
    contracts = [
        ContractPolicy(validate_address(network.family, one.address), one.symbol, _gas_max(network.family, one.gas_max))
        for one in section.contract
    ]
    fee_max, day_max = (_coins(network.family, name, getattr(section, name)) for name in ("fee_max", "day_max"))
    if fee_max > day_max:
        raise ValueError(f"fee_max {section.fee_max} is above day_max {section.day_max}: nothing could be signed")
    treasury = None if section.treasury is None else validate_address(network.family, section.treasury)
    if treasury in {one.address for one in contracts}:
        raise ValueError(f"treasury {treasury} is a token contract: what is sent there is lost")
    return NetworkPolicy(
        network, section.name, fee_max, day_max, {one.address: one for one in contracts}, treasury, source
    )


def _gas_max(family: Family, given: int | None) -> int | None:
    if family is Family.EVM:
        return given or GAS_MAX
    if given is not None:
        raise ValueError("gas_max is for EVM networks: on TRON fee_max bounds a call")
    return None


def _coins(family: Family, name: str, text: str) -> int:
    try:
        return to_raw(text, COIN_DECIMALS[family])
    except InvalidAmount as error:
        raise ValueError(f"{name}: {error}") from None


def _with_treasuries(
    networks: Mapping[Network, NetworkPolicy], treasuries: Mapping[str, str]
) -> dict[Network, NetworkPolicy]:
    """Raises PolicyError for a variable that names no network, an address of another family, and a contradiction."""
    merged = dict(networks)
    by_name = {one.name: network for network, one in networks.items() if one.source != "shipped"}
    for name, text in treasuries.items():
        variable = f"FLAGPOST_TREASURY_{name.upper().replace('-', '_')}"
        network = by_name.get(name) or network_named(name)
        if network is None:
            raise PolicyError(
                f"{variable} names no network: a pin belongs to a network's id, not to the name of a row. Use "
                f"FLAGPOST_TREASURY_EVM_<chain id>, FLAGPOST_TREASURY_TRON_<genesis block id>, or the policy file"
            )
        try:
            treasury = validate_address(network.family, text)
        except InvalidAddress as error:
            raise PolicyError(f"{variable}: {error}") from None
        known = merged.get(network)
        if known is None:
            raise PolicyError(
                f"{variable} pins the treasury of {network}, which is not in the signing policy: add the network to "
                "the "
                f"policy file (flagpost policy draft shows how)"
            )
        if known.treasury not in (None, treasury):
            raise PolicyError(f"{variable} is {treasury}, the policy file has {known.treasury}: leave one of them out")
        merged[network] = replace(known, treasury=treasury)
    return merged


def _shipped() -> Sequence[NetworkPolicy]:
    """The networks that the migrations ship, with their tokens and the limits of their budgets (sql/migrations)."""
    return (
        _known("tron", "100", "10000", {"USDT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"}),
        _known("bsc", "0.005", "2", {"USDT": "0x55d398326f99059fF775485246999027B3197955"}),
        _known(
            "ethereum",
            "0.02",
            "2",
            {
                "USDT": "0xdAC17F958D2ee523a2206206994597C13D831ec7",
                "USDC": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
            },
        ),
        _known("nile", "100", "10000", {}),
        _known("bsc-testnet", "0.005", "2", {}),
        _known("sepolia", "0.02", "2", {}),
    )


def _known(name: str, fee_max: str, day_max: str, tokens: Mapping[str, str]) -> NetworkPolicy:
    contracts = [_Contract(address=address, symbol=symbol) for symbol, address in tokens.items()]
    network = NAMED[name]
    return _section(
        _Network(name=name, family=network.family, id=network.id, fee_max=fee_max, day_max=day_max, contract=contracts),
        "shipped",
    )
