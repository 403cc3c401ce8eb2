"""Doctor's checks of signing: does this host's policy have what the database asks for, and do its ceilings leave room
today."""

import os

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Findings
from pipeline.admin.errors import ActionError
from pipeline.admin.policy import gaps, network_of, own_policy
from pipeline.admin.session import Connection
from pipeline.db.statements import statement
from pipeline.settings import Settings, SettingsError
from pipeline.signing.errors import LedgerUnavailable
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.policy import NetworkPolicy, treasury_variable
from pipeline.signing.rules import GAS_WALLET, WALLETS, ceiling_of

CHECKS = (
    Check("policy", right="this host has a valid policy", cure="flagpost policy show"),
    Check("policy.ledger", right="signed amounts can be counted", cure="FLAGPOST_SIGNING_LEDGER on a disk with room"),
    Check(
        "CHAIN.policy",
        right="the policy has what the database asks for, with a treasury",
        cure="flagpost policy draft CHAIN, if it is yours",
    ),
    Check("CHAIN.ceilings", right="a day's ceiling leaves room", cure="wait, or raise day_max in the policy file"),
)
"""What this module asks; ids with ``CHAIN`` begin with the name of one."""
NEARLY = 0.8
"""Share of a ceiling from which on somebody should know."""


def check_policy(found: Findings, connection: Connection, settings: Settings) -> None:
    """Only where the keys are: the policy of any other host signs nothing."""
    try:
        settings.mnemonic()
    except SettingsError:
        found.note("policy", "no mnemonic here: what may be signed is decided where it is (flagpost policy show)")
        return
    try:
        policy = own_policy(settings)
    except ActionError as error:
        found.fail("policy", error.message, f"{error.hint}; gas-topup and consolidation do not start")
        return
    ledger = SpendingLedger(settings.spending_ledger)
    _check_ledger(found, ledger)
    for row in connection.execute(statement("policy/chains"), {"chain": None}).fetchall():
        if not row["is_active"]:
            continue
        missing = gaps(policy, row)
        for one in missing:
            found.fail(
                f"{row['name']}.policy",
                f"{one}: nothing of it is signed, and its flags stay up",
                f"if it is yours: flagpost policy draft {row['name']}; if not, find out who wrote the row",
            )
        network = network_of(row)
        known = None if network is None else policy.networks.get(network)
        if network is None or known is None:
            continue
        if policy.pinned and known.treasury is None:
            found.fail(
                f"{row['name']}.policy",
                f"{row['name']} has no pinned treasury, and other networks have: nothing of it is signed",
                f"set {treasury_variable(network)}, or treasury in the policy file",
            )
        elif not missing:
            _check_ceilings(found, row["name"], known, ledger)


def _check_ledger(found: Findings, ledger: SpendingLedger) -> None:
    """Without creating it: doctor may run as somebody else than who signs."""
    place = "give it a place on a disk with room: FLAGPOST_SIGNING_LEDGER"
    try:
        if ledger.path.exists():
            ledger.spent("")
        elif not os.access(next(one for one in ledger.path.parents if one.exists()), os.W_OK):
            raise LedgerUnavailable(f"{ledger.path} cannot be written: nothing is signed")
    except LedgerUnavailable as error:
        found.fail("policy.ledger", str(error), place)
        return
    except OSError as error:  # of a directory that this user may not search
        said = f"{ledger.path} cannot be accessed, and this user signs nothing: {error.strerror}"
        found.fail("policy.ledger", said, f"where another user signs, run doctor as that one; else {place}")
        return
    found.ok("policy.ledger", f"signed amounts are counted in {ledger.path}")


def _check_ceilings(found: Findings, chain: str, known: NetworkPolicy, ledger: SpendingLedger) -> None:
    check = f"{chain}.ceilings"
    for whose in (GAS_WALLET, WALLETS):
        try:
            spent = ledger.spent(ceiling_of(known, whose).of) if ledger.path.exists() else 0
        except (LedgerUnavailable, OSError):
            return  # said of policy.ledger
        said = (
            f"{chain}: {known.human(spent)} of the native coin signed for by the {whose} in 24 hours; "
            f"day_max of this host is {known.human(known.day_max)}"
        )
        todo = "find out by what (sql/inspect/gas_spending.sql); if it is meant to be, raise day_max in the policy file"
        if spent + known.fee_max > known.day_max:
            found.fail(check, f"{said}: the next payment waits", todo)
        elif spent > NEARLY * known.day_max:
            found.warn(check, said, todo)
        else:
            found.ok(check, said)
