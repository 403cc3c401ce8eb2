"""One suite for both virtual machines: what code does and costs, how it fails, and that all of it can be undone."""

import importlib
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chains.rpc.batch import BalanceEntry, balances_of, block_of, creation_code
from pipeline.chains.values import BlockRef
from pipeline.devnet.encoding import keccak256
from pipeline.devnet.tokens import token_artifact
from pipeline.devnet.vm import Execution, Vm
from tests.chains.devnet.hand import selector
from tests.witness import witness

MACHINES = {"pyevm": "PyEvm", "revm": "Revm"}
ME, CONTRACT, OTHER, NEW = (b"\x41" + bytes([number]) * 20 for number in (0x11, 0x33, 0x44, 0x55))
HELD = 10**12
ENERGY = 1_000_000


def machine(name: str) -> Vm:
    if name == "revm":
        witness("pyrevm")
    made: Vm = getattr(importlib.import_module(f"pipeline.devnet.{name}"), MACHINES[name])()
    made.endow(ME, HELD)
    made.endow(CONTRACT, 5_000)
    made.set_block(77, 123_456_789_000)
    return made


@pytest.fixture(params=MACHINES)
def vm(request: pytest.FixtureRequest) -> Vm:
    return machine(request.param)


def run(vm: Vm, code: str, data: bytes = b"", value: int = 0, energy: int = ENERGY) -> Execution:
    vm._put_code(CONTRACT, bytes.fromhex(code.replace(" ", "")))
    return vm.call(ME, CONTRACT, data, value, energy)


def answer(code: str) -> str:
    """``code`` leaves a word on the stack: code that returns it."""
    return code + " 6000 52 6020 6000 f3"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("30", 0x33),
        ("31", None),
        ("32", 0x11),
        ("33", 0x11),
        ("34", 9),
        ("36", 5),
        ("3a", 0),
        ("41", 0),
        ("42", 123_456_789),
        ("43", 77),
        ("44", 0),
        ("45", 10**15),
        ("30 31", 5_009),
        ("33 31", HELD - 9),
        ("73" + "44" * 20 + " 3b", 0),
        ("73" + "44" * 20 + " 3f", 0),
        ("30 3b", 9),
        ("6005 6003 03", 2**256 - 2),
        ("600a 600b 1b", 0x5000),
    ],
)
def test_what_opcodes_see(vm: Vm, code: str, word: int | None) -> None:
    done = run(vm, answer(code), b"12345", 9)
    if word is None:
        assert done.status == "STACK_TOO_SMALL"
        return
    assert done.success
    expected = word if word not in (0x11, 0x33) else int.from_bytes(bytes([word]) * 20, "big")
    if code == "30 3b":
        expected = len(bytes.fromhex(answer(code).replace(" ", "")))
    assert int.from_bytes(done.output, "big") == expected


@pytest.mark.parametrize(
    ("code", "status", "energy", "message"),
    [
        ("fe", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code: opCode[fe]"),
        ("0c", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code"),
        ("46", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code"),
        ("47", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code"),
        ("48", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code"),
        ("5f", "ILLEGAL_OPERATION", ENERGY, "Invalid operation code"),
        ("01", "STACK_TOO_SMALL", ENERGY, "Expected stack size is larger than the current one"),
        ("6000 56", "BAD_JUMP_DESTINATION", ENERGY, "Operation with pc isn't 'JUMPDEST'"),
        ("5b 6000 56", "OUT_OF_ENERGY", ENERGY, "Not enough energy for operation executing"),
        ("5b 6001 6000 56", "STACK_TOO_LARGE", ENERGY, "Expected: overflow 1024 elements stack limit"),
        ("6001 6000 fd", "REVERT", 9, "REVERT opcode executed"),
        ("6000 6000 3e", "STACK_TOO_SMALL", ENERGY, "Expected stack size is larger than the current one"),
    ],
)
def test_how_code_fails(vm: Vm, code: str, status: str, energy: int, message: str) -> None:
    done = run(vm, code)
    assert (done.status, done.energy, done.message, done.logs) == (status, energy, message, ())
    assert vm.balance(ME) == HELD


def test_more_than_is_held_cannot_be_sent(vm: Vm) -> None:
    done = run(vm, "00", value=HELD + 1)
    assert (done.status, done.energy) == ("TRANSFER_FAILED", ENERGY)
    assert (vm.balance(ME), vm.balance(CONTRACT)) == (HELD, 5_000)


def test_storage_costs_what_the_tvm_charges_without_refunds(vm: Vm) -> None:
    once = run(vm, "6001 6000 55")
    assert (once.status, once.energy) == ("SUCCESS", 20_006)
    assert vm.call(ME, CONTRACT, b"", 0, ENERGY).energy == 5_006, "the slot holds something already"
    assert run(vm, "6000 6000 55").energy == 5_006, "clearing gives nothing back"


def test_coins_that_contracts_move(vm: Vm) -> None:
    send = "6000 6000 6000 6000 6064 73" + "44" * 20 + " 5a f1"
    done = run(vm, answer(send), value=7)
    assert (int.from_bytes(done.output, "big"), done.energy) == (1, 32_435)
    assert (vm.balance(CONTRACT), vm.balance(OTHER), vm.balance(ME)) == (4_907, 100, HELD - 7)
    assert sorted(vm.accounts_with_balance()) == [ME, CONTRACT, OTHER]
    too_much = run(vm, answer(send.replace("6064", "61ffff")))
    assert int.from_bytes(too_much.output, "big") == 0


def test_a_contract_that_destroys_itself_gives_its_coins(vm: Vm) -> None:
    assert run(vm, "73" + "44" * 20 + " ff").success
    assert (vm.balance(CONTRACT), vm.balance(OTHER)) == (0, 5_000)


def test_coins_that_accounts_move(vm: Vm) -> None:
    vm.transfer(ME, OTHER, 12)
    vm.transfer(ME, OTHER, 0)
    assert (vm.balance(ME), vm.balance(OTHER), vm.balance(NEW)) == (HELD - 12, 12, 0)


@pytest.mark.parametrize(
    "create", ["6460006000f3 6000 52 6005 601b 6000 f0", "6001 6460006000f3 6000 52 6005 601b 6000 f5"]
)
def test_contracts_that_create_contracts(vm: Vm, create: str) -> None:
    done = run(vm, answer(create))
    assert done.success
    assert int.from_bytes(done.output, "big") > 0


def test_creation(vm: Vm) -> None:
    made = vm.create(ME, NEW, bytes.fromhex("6005600c60003960056000f3") + b"\x60\x00\x60\x00\xf3", 3, ENERGY)
    assert (made.status, made.output, made.energy) == ("SUCCESS", b"\x60\x00\x60\x00\xf3", 24 + 5 * 200)
    assert (vm.code(NEW), vm.balance(NEW)) == (made.output, 3)
    dear = vm.create(
        ME, OTHER, bytes.fromhex("6005600c60003960056000f3") + b"\x60\x00\x60\x00\xf3", 0, 24 + 5 * 200 - 1
    )
    assert (dear.status, dear.energy) == ("OUT_OF_ENERGY", 1_023)


def test_any_mark_can_be_gone_back_to(vm: Vm) -> None:
    """Marks of blocks long past, of transactions inside them, and simulations between all of these."""
    count = "6000 54 6001 01 6000 55"

    def held() -> tuple[int, int, bytes]:
        with vm.simulation():
            vm._put_code(CONTRACT, bytes.fromhex(answer("6000 54").replace(" ", "")))
            stored = vm.call(ME, CONTRACT, b"", 0, ENERGY).output
        return int.from_bytes(stored, "big"), vm.balance(OTHER), vm.code(NEW)

    run(vm, count)
    vm.transfer(ME, OTHER, 1)
    first = vm.mark()
    for _ in range(3):
        run(vm, count)
        vm.transfer(ME, OTHER, 1)
        vm.mark()
    vm.create(ME, NEW, b"", 0, ENERGY)
    second = vm.mark()
    assert held() == (4, 4, b"")
    for _ in range(2):
        vm.transfer(OTHER, ME, 4)
        run(vm, count)
        vm.rollback(second)
        second = vm.mark()
        assert held() == (4, 4, b"")
    for _ in range(2):
        vm.rollback(first)
        first = vm.mark()
        assert held() == (1, 1, b"")
        vm.transfer(ME, OTHER, 9)
        run(vm, count)
        assert held() == (2, 10, b"")


def test_simulated_constructors_leave_nothing(vm: Vm) -> None:
    before = sorted(vm.accounts_with_balance())
    for _ in range(2):
        done = vm.simulate_create(ME, bytes.fromhex("600160005560206000f3"), 5, ENERGY)
        assert (done.status, done.output, done.energy) == ("SUCCESS", bytes(32), 20_006 + 6 + 3 + 32 * 200)
        assert (sorted(vm.accounts_with_balance()), vm.balance(ME)) == (before, HELD)


class Token:
    """The devnet's own token on a bare machine."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        code = bytes.fromhex(token_artifact()["bytecode"])
        code += encode(["string", "string", "uint8", "uint256"], ["Tether USD", "USDT", 6, 10**15])
        self.created = vm.create(ME, CONTRACT, code, 0, 10 * ENERGY)

    def call(self, caller: bytes, function: str, *arguments: Any, energy: int = ENERGY) -> Execution:
        kinds = [kind for kind in function[function.index("(") + 1 : -1].split(",") if kind]
        plain = ["0x" + one[1:].hex() if isinstance(one, bytes) else one for one in arguments]
        return self.vm.call(caller, CONTRACT, selector(function) + encode(kinds, plain), 0, energy)

    def balance(self, owner: bytes) -> int:
        return int.from_bytes(self.call(ME, "balanceOf(address)", owner).output, "big")


def test_the_token_on_either_machine(vm: Vm) -> None:
    token = Token(vm)
    assert (token.created.energy, len(token.created.output)) == (801_453, 3_470)
    assert decode(["string"], token.call(ME, "symbol()").output) == ("USDT",)
    fresh = token.call(ME, "transfer(address,uint256)", OTHER, 5)
    again = token.call(ME, "transfer(address,uint256)", OTHER, 5)
    assert (fresh.energy, again.energy) == (28_654, 13_654)
    assert (token.balance(ME), token.balance(OTHER)) == (10**15 - 10, 10)
    (log,) = again.logs
    assert log.address == CONTRACT
    assert log.topics == (
        keccak256(b"Transfer(address,address,uint256)"),
        ME[1:].rjust(32, b"\0"),
        OTHER[1:].rjust(32, b"\0"),
    )
    assert int.from_bytes(log.data, "big") == 5
    too_much = token.call(OTHER, "transfer(address,uint256)", ME, 11)
    assert (too_much.status, too_much.logs) == ("REVERT", ())
    assert decode(["string"], too_much.output[4:]) == ("balance is too low",)
    starved = token.call(ME, "transfer(address,uint256)", NEW, 1, energy=20_000)
    assert (starved.status, starved.energy, token.balance(NEW)) == ("OUT_OF_ENERGY", 20_000, 0)


def test_batch_reads_by_creation_code(vm: Vm) -> None:
    token = Token(vm)
    owners = [b"\x41" + number.to_bytes(20, "big") for number in range(1, 201)]
    for place, owner in enumerate(owners[::4]):
        token.call(ME, "transfer(address,uint256)", owner, place + 1)
    part = [BalanceEntry(place, owner[1:], CONTRACT[1:], "USDT") for place, owner in enumerate(owners)]
    part += [BalanceEntry(200, ME[1:], None, None), BalanceEntry(201, ME[1:], OTHER[1:], "no contract")]
    done = vm.simulate_create(ME, creation_code(part), 0, 100 * ENERGY)
    assert done.success
    assert done.energy == 1_845_095
    assert block_of(done.output, len(part)) == (77, 123_456_789)
    read_at = BlockRef(77, "00" * 32, datetime.fromtimestamp(123_456_789, UTC))
    read = [balance.raw for balance in balances_of(done.output, part, read_at, "TRC20")]
    assert read[:200:4] == list(range(1, 51))
    assert [raw for place, raw in enumerate(read[:200]) if place % 4] == [0] * 150
    assert read[200:] == [HELD, None]


OPCODES = [*range(0x00, 0x0C), *range(0x10, 0x1E), 0x20, *range(0x30, 0x40), *range(0x41, 0x46), *range(0x50, 0x5C)]
OPCODES += [*range(0x60, 0xA5), *range(0xF0, 0xF6), 0xFA, 0xFD, 0xFE, 0xFF]
"""All but BLOCKHASH, which has no meaning here."""
WORDS = [0, 1, 2, 31, 32, 33, 64, 100, 255, 5_000, 2**64, 2**255, 2**256 - 1]
WORDS += [int.from_bytes(address[1:], "big") for address in (CONTRACT, OTHER, ME)]


def program(dice: random.Random, length: int) -> bytes:
    """Opcodes with enough sensible words before them to get somewhere."""
    code = b""
    for _ in range(length):
        drawn = dice.random()
        if drawn < 0.45:
            word = dice.choice(WORDS)
            raw = word.to_bytes(max(1, (word.bit_length() + 7) // 8), "big")
            code += bytes([0x5F + len(raw)]) + raw
        else:
            code += b"\x5b" if drawn < 0.5 else bytes([dice.choice(OPCODES)])
    return code


@given(seed=st.integers(0, 2**32), value=st.sampled_from([0, 1, 100]), energy=st.sampled_from([100, 3_000, 100_000]))
@settings(max_examples=300, deadline=None)
def test_random_programs_do_the_same_on_both(seed: int, value: int, energy: int) -> None:
    dice = random.Random(seed)
    first, second, data = program(dice, 60), program(dice, 30), dice.randbytes(36)

    def trial(vm: Vm) -> list[object]:
        vm._put_code(CONTRACT, first)
        vm._put_code(OTHER, second)
        ends = [vm.call(ME, CONTRACT, data, value, energy), vm.simulate_create(ME, first, value, energy)]
        ends += [vm.create(ME, NEW, second, value, energy), vm.call(ME, CONTRACT, b"", 0, energy)]
        # A program can fail in two ways at once, and the machines look in different orders.
        seen = [(end.status if end.status in ("SUCCESS", "REVERT") else "failed", end.energy) for end in ends]
        state = [vm.balance(one) for one in (ME, CONTRACT, OTHER, NEW)]
        return [seen, [(end.output, end.logs) for end in ends], state, vm.code(NEW), sorted(vm.accounts_with_balance())]

    assert trial(machine("pyevm")) == trial(machine("revm"))
