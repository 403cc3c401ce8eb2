"""What TRON's own compiler makes runs on both machines, and nothing but its opcodes is changed for that."""

import json
from pathlib import Path

import pytest
from eth_abi.abi import decode, encode

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.tvm_code import runnable
from pipeline.devnet.vm import Vm
from tests.chains.devnet.hand import Api, Hand, fresh_address, selector, word
from tests.chains.devnet.test_vm import CONTRACT, MACHINES, ME, NEW, OTHER, machine
from tests.chains.tron.artifacts import artifact, creation

ENERGY = 10**8
PUSHES_ZERO = bytes.fromhex("5fd2d3")


@pytest.fixture(params=MACHINES)
def vm(request: pytest.FixtureRequest) -> Vm:
    return machine(request.param)


def answered(vm: Vm, contract: bytes, function: str, *kinds_and_values: tuple[str, object]) -> bytes:
    kinds, values = [kind for kind, _ in kinds_and_values], [value for _, value in kinds_and_values]
    done = vm.call(ME, contract, selector(function) + encode(kinds, values), 0, ENERGY)
    assert done.success, done
    return done.output


@pytest.mark.parametrize("opcode", ["5f", "d2", "d3"])
def test_each_pushes_a_zero_for_two_energy(vm: Vm, opcode: str) -> None:
    code = bytes.fromhex(opcode + "60005260206000f3")
    made = vm.create(ME, NEW, bytes.fromhex("6009600c60003960096000f3") + code, 0, ENERGY)
    assert (made.status, made.output) == ("SUCCESS", code), "it is kept as it was sent"
    done = vm.call(ME, NEW, b"", 0, ENERGY)
    assert (done.status, int.from_bytes(done.output, "big"), done.energy) == ("SUCCESS", 0, 2 + 3 + 6 + 3 + 3 + 0)


def test_numbers_and_texts_that_look_like_opcodes_stay(vm: Vm) -> None:
    """In the constructor's arguments, which follow its code, in a constant of the contract, and in its storage."""
    given = int.from_bytes((PUSHES_ZERO + b"\x5b") * 8, "big")
    said = "Ò_Ó[" * 20
    made = vm.create(ME, NEW, creation("Kept", given, said), 0, ENERGY)
    assert made.success
    assert given.to_bytes(32, "big") in made.output, "an immutable lies in the code itself"
    assert int.from_bytes(answered(vm, NEW, "given()"), "big") == given
    assert decode(["string"], answered(vm, NEW, "said()")) == (said,)


def test_a_contract_that_makes_another(vm: Vm) -> None:
    assert vm.create(ME, NEW, creation("Maker"), 0, ENERGY).success
    child = b"\x41" + answered(vm, NEW, "make(uint256)", ("uint256", 0xD2D3))[-20:]
    assert int.from_bytes(answered(vm, child, "given()"), "big") == 0xD2D3
    assert decode(["string"], answered(vm, child, "said()")) == ("by a contract",)


def test_both_machines_charge_the_same() -> None:
    def energies(name: str) -> list[int]:
        vm = machine(name)
        done = [vm.create(ME, NEW, creation("SwitchedFeeToken", 10**9), 0, ENERGY)]
        data = selector("transfer(address,uint256)") + encode(["address", "uint256"], ["0x" + OTHER[1:].hex(), 5])
        done += [vm.call(ME, NEW, data, 0, ENERGY), vm.call(ME, NEW, data, 1, ENERGY)]
        assert [one.status for one in done] == ["SUCCESS", "SUCCESS", "REVERT"], "coins are refused"
        return [one.energy for one in done]

    assert energies("pyevm") == energies("revm")


def test_what_is_not_reached_is_not_changed() -> None:
    """Behind the end, as an operand, and where a jump would lead to if the place were an opcode."""
    end, operand = "00", "62d2d35f"
    for code in (end + "d2d35f", operand + end + "d3", "6005" + "56" + "61" + "5bd2" + end):
        assert runnable(bytes.fromhex(code)) == bytes.fromhex(code)
    assert runnable(bytes.fromhex("600456005bd200")) == bytes.fromhex("6004560 05b3a00".replace(" ", ""))


def test_what_another_compiler_made_is_not_changed() -> None:
    room = Path(__file__).parents[3] / "pipeline"
    for path in [*room.glob("devnet/contracts/*.json"), *room.glob("chains/contracts/*.json")]:
        built = json.loads(path.read_text("utf-8"))
        for part in ("bytecode", "runtime"):
            code = bytes.fromhex(built[part])
            assert runnable(code) == code, f"{path.name} {part}"


def test_other_opcodes_of_the_tvm_are_none(vm: Vm) -> None:
    """TRC10 balances, votes, frozen coins: this network has none of it, and does not pretend to."""
    for opcode in (0xD0, 0xD1, *range(0xD4, 0xE0)):
        vm._put_code(CONTRACT, runnable(b"\x60\x00" * 8 + bytes([opcode])))
        assert vm.call(ME, CONTRACT, b"", 0, ENERGY).status == "ILLEGAL_OPERATION"


async def test_over_http_a_contract_is_shown_as_it_was_sent(
    alice: Hand, api: Api, devnet: DevnetClient, usdt: str
) -> None:
    contract, _ = await devnet.deploy(
        creation("SwitchedFeeToken", 10**12), "Tether", artifact("SwitchedFeeToken")["abi"]
    )
    await devnet.mine()
    info = await api.ask("wallet/getcontractinfo", value=contract, visible=True)
    assert info["runtimecode"] == artifact("SwitchedFeeToken")["runtime"]
    assert info["smart_contract"]["bytecode"] == creation("SwitchedFeeToken", 10**12).hex()
    await devnet.send_token(contract, alice.address, 1_000)
    await devnet.solidify()
    receiver = fresh_address()
    sent = await api.send(await alice.call(contract, selector("transfer(address,uint256)") + word(receiver) + word(9)))
    assert sent["result"], sent
    await devnet.mine()
    assert await devnet.balance(receiver, contract) == 9
