"""The state of the chain at one place: ledger, virtual machine, and how one transaction changes them.

Deterministic: the same transactions in the same blocks give the same state and receipts, which is how a
restart, a fork and the solid state are made.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipeline.devnet.actuators import ACTUATORS
from pipeline.devnet.dynamic_energy import ContractState, before_penalty, caught_up, penalty
from pipeline.devnet.encoding import BLACKHOLE, contract_address, is_address, keccak256
from pipeline.devnet.ledger import Account, Contract, Ledger
from pipeline.devnet.machines import new_vm
from pipeline.devnet.messages import SmartContract
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.permissions import check_signatures
from pipeline.devnet.resources import charge_bandwidth, charge_extras, energy_budget, split_energy
from pipeline.devnet.staking import Stake
from pipeline.devnet.transactions import WireTransaction, invalid
from pipeline.devnet.vm import Execution, Log, Mark

CONSTANT_ENERGY = 100_000_000
"""What a node lets a constant call spend (vm.maxEnergyLimitForConstant)."""
MAX_FEE_LIMIT = 15_000_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one transaction did and cost, in sun, bytes and energy."""

    result: str
    """``SUCCESS`` or the reason (contractRet)."""
    net_usage: int = 0
    net_fee: int = 0
    contract_fee: int = 0
    """What the contract itself costs: a new account, new permissions."""
    extra_fee: int = 0
    """For a note and for further signatures."""
    energy_usage: int = 0
    """Paid from the account's own energy."""
    energy_fee: int = 0
    energy_total: int = 0
    energy_penalty: int = 0
    contract: bytes = b""
    output: bytes = b""
    logs: tuple[Log, ...] = ()
    message: str = ""

    @property
    def success(self) -> bool:
        return self.result == "SUCCESS"

    @property
    def fee(self) -> int:
        return self.net_fee + self.contract_fee + self.extra_fee + self.energy_fee


@dataclass(frozen=True, slots=True)
class StateMark:
    ledger: int
    vm: Mark


class State:
    def __init__(self, endowments: dict[bytes, int]) -> None:
        self.ledger = Ledger()
        self.vm = new_vm()
        for address, sun in endowments.items():
            self.ledger.put_account(address, Account(0))
            self.vm.endow(address, sun)
        self.ledger.put_account(BLACKHOLE, Account(0))

    def mark(self) -> StateMark:
        return StateMark(self.ledger.mark(), self.vm.mark())

    def rollback(self, mark: StateMark) -> None:
        self.ledger.rollback(mark.ledger)
        self.vm.rollback(mark.vm)

    def balance(self, address: bytes) -> int:
        """Sun; 0 for an account that does not exist."""
        return self.vm.balance(address) if address in self.ledger.accounts else 0

    def apply(self, tx: WireTransaction, env: BlockEnv) -> Receipt:
        """Charge fees and execute. Raises Rejected with the state as it was before."""
        mark = self.mark()
        self.vm.set_block(env.number, env.timestamp)
        with ExitStack() as undo:
            undo.callback(self.rollback, mark)
            receipt = self._execute(tx, env)
            undo.pop_all()
        return receipt

    def simulate(self, caller: bytes, contract: bytes, data: bytes, value: int, env: BlockEnv) -> tuple[Execution, int]:
        """A constant call (``contract`` empty: ``data`` is creation code). Returns it with the energy penalty.

        Raises Rejected when the contract does not exist or the value is not held."""
        if contract and contract not in self.ledger.contracts:
            raise invalid("Smart contract is not exist.")
        if value > self.balance(caller):
            raise invalid("Validate InternalTransfer error, balance is not sufficient.")
        self.vm.set_block(env.number, env.timestamp)
        if not contract:
            return self.vm.simulate_create(caller, data, value, CONSTANT_ENERGY), 0
        factor = self.energy_state(contract, env).factor
        with self.vm.simulation():
            done = self.vm.call(caller, contract, data, value, before_penalty(CONSTANT_ENERGY, factor))
        return done, penalty(done.energy, factor)

    def energy_state(self, contract: bytes, env: BlockEnv) -> ContractState:
        """The contract's energy usage and factor in the maintenance period of ``env``."""
        return caught_up(self.ledger.energy.get(contract), env)

    def _execute(self, tx: WireTransaction, env: BlockEnv) -> Receipt:
        owner = tx.owner
        if owner not in self.ledger.accounts:
            raise invalid(f"account [{owner.hex()}] does not exist")
        account = self.ledger.accounts[owner]
        if account.permissions is not None and tx.message.signature:
            # Set by a transaction that came before it: whoever signed may not be asked any more.
            check_signatures(tx, account.permissions)
        creates = _creates_account(tx, self.ledger)
        net_usage, net_fee = charge_bandwidth(self, owner, tx.bandwidth, creates, env)
        extra = charge_extras(self, owner, bytes(tx.message.raw_data.data), len(tx.message.signature), env)
        account = self.ledger.accounts[owner]
        self.ledger.put_account(owner, replace(account, last_operation_ms=env.timestamp))
        receipt = self._done(tx, env)
        return replace(receipt, net_usage=net_usage, net_fee=net_fee, extra_fee=extra)

    def _done(self, tx: WireTransaction, env: BlockEnv) -> Receipt:
        """What the transaction itself does, and costs beyond its bytes."""
        if tx.kind == "TransferContract":
            fee = self._transfer(tx.owner, bytes(tx.contract.to_address), tx.contract.amount, env)
            return Receipt("SUCCESS", contract_fee=fee)
        if tx.kind in ACTUATORS:
            return Receipt("SUCCESS", contract_fee=ACTUATORS[tx.kind](self, tx.owner, tx.contract, env))
        if not 0 <= tx.fee_limit <= MAX_FEE_LIMIT:
            raise invalid(f"feeLimit must be >= 0 and <= {MAX_FEE_LIMIT}")
        return self._trigger(tx, env) if tx.kind == "TriggerSmartContract" else self._create(tx, env)

    def _transfer(self, owner: bytes, receiver: bytes, amount: int, env: BlockEnv) -> int:
        """Returns the fee for activating the receiver."""
        if not is_address(receiver):
            raise invalid("Invalid toAddress!")
        if receiver == owner:
            raise invalid("Cannot transfer TRX to yourself.")
        if amount <= 0:
            raise invalid("Amount must be greater than 0.")
        if receiver in self.ledger.contracts:
            raise invalid("Cannot transfer TRX to a smartContract.")
        activation = 0 if receiver in self.ledger.accounts else env.params.activation_fee
        if self.balance(owner) < amount + activation:
            raise invalid("Validate TransferContract error, balance is not sufficient.")
        self.burn(owner, activation)
        self.activate(receiver, env)
        self.vm.transfer(owner, receiver, amount)
        return activation

    def _trigger(self, tx: WireTransaction, env: BlockEnv) -> Receipt:
        contract, address = tx.contract, bytes(tx.contract.contract_address)
        if address not in self.ledger.contracts:
            raise invalid("No contract or not a valid smart contract")
        self._check_value(tx.owner, contract.call_value, contract.call_token_value)
        budget = energy_budget(self, tx.owner, tx.fee_limit, contract.call_value, env)
        energy = self.energy_state(address, env)
        base = before_penalty(budget, energy.factor)
        moved_before = contract.call_value > 0 or self.vm.balance(address) > 0
        done = self.vm.call(tx.owner, address, bytes(contract.data), contract.call_value, base)
        if done.success:
            self.ledger.put_energy(address, energy.with_usage(done.energy))
        if moved_before and done.success:
            for holder in self.vm.accounts_with_balance():
                self.activate(holder, env)
        return self._billed(tx.owner, address, done, penalty(done.energy, energy.factor), budget, env)

    def _create(self, tx: WireTransaction, env: BlockEnv) -> Receipt:
        created = SmartContract()
        created.CopyFrom(tx.contract.new_contract)
        if bytes(created.origin_address) != tx.owner:
            raise invalid("OwnerAddress is not equals OriginAddress")
        if not 0 <= created.consume_user_resource_percent <= 100:
            raise invalid("percent must be >= 0 and <= 100")
        if len(created.name.encode()) > 32:
            raise invalid("contractName's length cannot be greater than 32")
        self._check_value(tx.owner, created.call_value, tx.contract.call_token_value)
        address = contract_address(tx.txid, tx.owner)
        if address in self.ledger.contracts or address in self.ledger.accounts:
            raise invalid(f"Trying to create a contract with existing contract address: {address.hex()}")
        budget = energy_budget(self, tx.owner, tx.fee_limit, created.call_value, env)
        done = self.vm.create(tx.owner, address, bytes(created.bytecode), created.call_value, budget)
        if done.success:
            created.contract_address = address
            created.code_hash = keccak256(done.output)
            created.trx_hash = tx.txid
            self.ledger.put_contract(Contract(address, created, done.output))
            self.activate(address, env)
        return self._billed(tx.owner, address, done, 0, budget, env)

    def _check_value(self, owner: bytes, sun: int, tokens: int) -> None:
        if sun < 0:
            raise invalid("callValue must be >= 0")
        if tokens:
            raise invalid("No asset !")
        if sun > self.balance(owner):
            raise invalid("Validate InternalTransfer error, balance is not sufficient.")

    def _billed(
        self, owner: bytes, contract: bytes, done: Execution, extra: int, budget: int, env: BlockEnv
    ) -> Receipt:
        """Energy is spent whatever the outcome: all of the budget unless the call succeeded or reverted."""
        total = done.energy + extra if done.status in ("SUCCESS", "REVERT") else budget
        own, burned = split_energy(self, owner, total, env)
        fee = burned * env.params.energy_fee
        self.burn(owner, fee)
        return Receipt(
            done.status,
            energy_usage=own,
            energy_fee=fee,
            energy_total=total,
            energy_penalty=min(extra, total),
            contract=contract,
            output=done.output,
            logs=done.logs,
            message=done.message,
        )

    def burn(self, owner: bytes, sun: int) -> None:
        self.move(owner, BLACKHOLE, sun)

    def move(self, sender: bytes, receiver: bytes, sun: int) -> None:
        """TRX; the caller has checked the balance."""
        self.vm.transfer(sender, receiver, sun)

    def stake(self, address: bytes) -> Stake:
        return self.ledger.accounts[address].stake

    def put_stake(self, address: bytes, stake: Stake) -> None:
        self.ledger.put_account(address, replace(self.ledger.accounts[address], stake=stake))

    def activate(self, address: bytes, env: BlockEnv) -> None:
        if address not in self.ledger.accounts:
            self.ledger.put_account(address, Account(env.timestamp))


def _creates_account(tx: WireTransaction, ledger: Ledger) -> bool:
    """Whether it pays the fee of a new account in place of bandwidth."""
    if tx.kind == "AccountCreateContract":
        return True
    return tx.kind == "TransferContract" and bytes(tx.contract.to_address) not in ledger.accounts
