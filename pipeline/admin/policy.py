"""What this host may sign, compared with what the database asks for. The database's word changes nothing of it."""

from collections.abc import Mapping
from typing import Any

from pipeline.admin.addresses import canonical_address
from pipeline.admin.errors import ActionError, InvalidValue
from pipeline.chains.errors import InvalidAddress
from pipeline.settings import Settings, SettingsError
from pipeline.signing.errors import PolicyError
from pipeline.signing.networks import Network
from pipeline.signing.policy import GAS_MAX, ContractPolicy, NetworkPolicy, Policy, load_policy
from pipeline.units import parse_raw

Row = Mapping[str, Any]


def own_policy(settings: Settings) -> Policy:
    """The policy of this host. Raises InvalidValue."""
    try:
        return load_policy(settings.signing_policy, settings.treasury)
    except (PolicyError, SettingsError) as error:
        raise InvalidValue(str(error), "see: docs/operating.md, What a host may sign") from None


def network_of(row: Row) -> Network | None:
    """The network that a row of chains says it is; None for one that is no network."""
    try:
        return Network.of(row["family"], row["network_id"])
    except ValueError:
        return None


def treasury_of(settings: Settings, row: Row) -> str | None:
    """The pinned treasury of a chain; None: our own index 1, or the policy does not say. Raises InvalidValue."""
    network = network_of(row)
    known = None if network is None else own_policy(settings).networks.get(network)
    return None if known is None else known.treasury


def gaps(policy: Policy, row: Row) -> list[str]:
    """What a row of ``policy/chains`` asks for that this host does not sign, a sentence each."""
    network = network_of(row)
    known = None if network is None else policy.networks.get(network)
    if known is None:
        return [f"{row['name']} ({network or row['network_id']}) is not in the signing policy of this host"]
    return [
        f"{token['symbol']} ({token['contract']}) is not in the signing policy of this host for {known.name}"
        for token in row["tokens"]
        if _canonical(row["family"], token["contract"]) not in known.contracts
    ]


def proposed(row: Row, policy: Policy) -> NetworkPolicy:
    """A section of the policy file for a row of ``policy/chains``, to be compared by a person. Raises InvalidValue."""
    network = network_of(row)
    if network is None:
        raise InvalidValue(f"chain {row['name']}: network_id {row['network_id']!r} is no network", "correct the row")
    known = policy.networks.get(network)
    contracts = dict(known.contracts) if known is not None else {}
    for token in row["tokens"]:
        address = _canonical(row["family"], token["contract"])
        limit = GAS_MAX if row["family"] == "evm" else None
        contracts.setdefault(address, ContractPolicy(address, token["symbol"], limit))
    if known is not None:
        day_max = known.day_max * policy.hosts
        return NetworkPolicy(network, known.name, known.fee_max, day_max, contracts, known.treasury)
    fee_max, day_max = parse_raw(row["fee_max"]), parse_raw(row["gas_max_per_day"])
    return NetworkPolicy(network, row["name"], fee_max, max(fee_max, day_max), contracts)


def _canonical(family: str, address: str) -> str:
    try:
        return canonical_address(family, address)
    except (ActionError, InvalidAddress):
        return address
