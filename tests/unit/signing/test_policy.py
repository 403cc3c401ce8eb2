"""What a host may sign, by its file, its environment and what is shipped; every mistake in it says what to write."""

from pathlib import Path

import pytest

from pipeline.chains.values import Family
from pipeline.signing.errors import PolicyError, SigningRefused
from pipeline.signing.networks import NAMED, Network, network_named
from pipeline.signing.policy import Policy, load_policy, to_toml, treasury_variable

OWN = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
OTHER = "0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0"
USDC = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"
POLYGON = f"""
[[network]]
name = "polygon"
family = "evm"
id = "137"
treasury = "{OWN}"
fee_max = "0.5"
day_max = "200"

[[network.contract]]
symbol = "USDC"
address = "{USDC}"
gas_max = 90000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLYGON)
    path.chmod(0o644)
    return path


def loaded(file: Path, text: str, **treasuries: str) -> Policy:
    file.write_text(text)
    return load_policy(file, {name.replace("_", "-"): address for name, address in treasuries.items()})


def test_what_is_shipped_has_the_tokens_of_the_migrations() -> None:
    policy = load_policy(None, {})
    assert {
        network.name: sorted(one.symbol for one in network.contracts.values()) for network in policy.networks.values()
    } == {
        "tron": ["USDT"],
        "bsc": ["USDT"],
        "ethereum": ["USDC", "USDT"],
        "nile": [],
        "bsc-testnet": [],
        "sepolia": [],
    }
    tron = policy.of(NAMED["tron"], "tron")
    assert (tron.fee_max, tron.day_max, tron.treasury) == (100_000_000, 10_000_000_000, None)
    assert tron.contract("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t").symbol == "USDT"


def test_a_file_adds_networks_and_replaces_those_that_it_names(file: Path) -> None:
    policy = load_policy(file, {})
    polygon = policy.networks[Network(Family.EVM, "137")]
    assert (polygon.fee_max, polygon.day_max, polygon.treasury) == (5 * 10**17, 200 * 10**18, OWN)
    assert polygon.contract(USDC).gas_max == 90_000
    assert NAMED["bsc"] in policy.networks
    replaced = loaded(file, POLYGON.replace('"137"', '"56"'))
    assert list(replaced.networks[NAMED["bsc"]].contracts) == [USDC]


def test_what_is_written_is_what_is_read(file: Path) -> None:
    known = load_policy(file, {}).networks[Network(Family.EVM, "137")]
    (again,) = (one for one in loaded(file, to_toml([known])).networks.values() if one.name == "polygon")
    assert again == known


def test_ceilings_of_a_day_are_split_between_hosts(file: Path) -> None:
    policy = loaded(file, "hosts = 3\n" + POLYGON)
    assert policy.networks[Network(Family.EVM, "137")].day_max == 200 * 10**18 // 3
    assert policy.networks[NAMED["tron"]].day_max == 10_000_000_000 // 3
    assert policy.networks[NAMED["tron"]].fee_max == 100_000_000


def test_a_contract_that_is_not_listed_is_refused() -> None:
    bsc = load_policy(None, {}).of(NAMED["bsc"], "bsc")
    with pytest.raises(SigningRefused, match=rf"contract {USDC} is not in the signing policy of bsc \(evm 56\)"):
        bsc.contract(USDC)


def test_a_network_that_is_not_listed_is_refused_whatever_its_row_is_called() -> None:
    with pytest.raises(PolicyError, match=r"chain bsc is network evm 666, which is not in the signing policy"):
        load_policy(None, {}).of(Network(Family.EVM, "666"), "bsc")


class TestTreasuries:
    def test_a_name_stands_for_a_network_and_not_for_a_row(self) -> None:
        policy = load_policy(None, {"bsc": OWN})
        assert policy.of(NAMED["bsc"], "renamed").treasury == OWN
        with pytest.raises(
            PolicyError,
            match=r"chain bsc \(evm 1\) has no pinned treasury, and bsc has: set FLAGPOST_TREASURY_ETHEREUM",
        ):
            policy.of(NAMED["ethereum"], "bsc")

    @pytest.mark.parametrize("name", ["evm-56", "bsc"])
    def test_by_the_id(self, name: str) -> None:
        assert load_policy(None, {name: OWN}).networks[NAMED["bsc"]].treasury == OWN

    def test_of_a_network_of_the_file_by_its_name_there(self, file: Path) -> None:
        text = POLYGON.replace('"polygon"', '"matic"').replace(f'treasury = "{OWN}"\n', "")
        assert loaded(file, text, matic=OTHER).networks[Network(Family.EVM, "137")].treasury == OTHER

    def test_an_address_in_any_form_is_kept_in_its_own(self) -> None:
        assert load_policy(None, {"bsc": OWN.lower()}).networks[NAMED["bsc"]].treasury == OWN

    @pytest.mark.parametrize(
        ("name", "address", "said"),
        [
            ("my-chain", OWN, "FLAGPOST_TREASURY_MY_CHAIN names no network"),
            ("tron", OWN, "FLAGPOST_TREASURY_TRON: "),
            ("bsc", "0x12", "FLAGPOST_TREASURY_BSC: "),
            (
                "evm-4242",
                OWN,
                "FLAGPOST_TREASURY_EVM_4242 pins the treasury of evm 4242, which is not in the signing policy",
            ),
        ],
    )
    def test_one_that_cannot_be_right(self, name: str, address: str, said: str) -> None:
        with pytest.raises(PolicyError, match=said):
            load_policy(None, {name: address})

    def test_two_that_contradict_each_other(self, file: Path) -> None:
        with pytest.raises(PolicyError, match=f"is {OTHER}, the policy file has {OWN}"):
            load_policy(file, {"polygon": OTHER})
        assert load_policy(file, {"polygon": OWN.lower()}).networks[Network(Family.EVM, "137")].treasury == OWN

    def test_the_variable_that_is_asked_for_is_the_one_that_is_read(self) -> None:
        for network in (*NAMED.values(), Network(Family.EVM, "4242"), Network(Family.TRON, "ab" * 32)):
            name = treasury_variable(network).removeprefix("FLAGPOST_TREASURY_").lower().replace("_", "-")
            assert network_named(name) == network


class TestMistakes:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ("nonsense", "is not TOML"),
            ("colour = 1", r"colour: Extra inputs"),
            ("hosts = 0", r"hosts: Input should be greater than or equal to 1"),
            (POLYGON.replace('"137"', "137"), r"network\.0\.id: Input should be a valid string"),
            (POLYGON.replace('"137"', '"0x89"'), "id is '0x89': on EVM it is the chain id"),
            (POLYGON.replace('"evm"', '"bitcoin"'), "family is 'bitcoin'"),
            (POLYGON.replace('"evm"', '"tron"'), "on TRON it is the genesis block's id"),
            (POLYGON.replace('"0.5"', '"0"'), r"fee_max: an amount above 0"),
            (POLYGON.replace('"0.5"', '"1e3"'), "fee_max: amount '1e3' is not a decimal number"),
            (POLYGON.replace('"0.5"', '"0.0000000000000000001"'), "fee_max: .* 19 decimals"),
            (POLYGON.replace('"0.5"', '"201"'), "fee_max 201 is above day_max 200"),
            (POLYGON.replace('day_max = "200"', ""), r"network\.0\.day_max: Field required"),
            (POLYGON.replace(OWN, OWN[:-1]), "network polygon: "),
            (POLYGON.replace(OWN, USDC), f"treasury {USDC} is a token contract"),
            (POLYGON.replace(USDC, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"), "network polygon: "),
            (POLYGON.replace("90000", "5"), r"gas_max: Input should be greater"),
            (POLYGON.replace("gas_max", "gas"), r"network\.0\.contract\.0\.gas: Extra inputs"),
            (POLYGON + POLYGON, "evm 137 has a section already"),
        ],
    )
    def test_each_names_the_file_and_the_field(self, file: Path, wrong: str, said: str) -> None:
        with pytest.raises(PolicyError, match=said) as refused:
            loaded(file, wrong)
        assert str(file) in str(refused.value)

    def test_a_file_that_others_can_write(self, file: Path) -> None:
        file.chmod(0o664)
        with pytest.raises(PolicyError, match="chmod go-w"):
            load_policy(file, {})

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PolicyError, match="cannot be read"):
            load_policy(tmp_path / "missing.toml", {})
