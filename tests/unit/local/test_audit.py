"""The audit finds every payment that should not be there."""

from dataclasses import replace

import pytest

from pipeline.local.audit import Intended, Movement, audit

TOKEN, TREASURY, WALLET, GAS, CUSTOMER = "Ttoken", "Ttreasury", "Twallet", "Tgas", "Tcustomer"
MOVE = Movement("aa", TOKEN, WALLET, TREASURY, 500)
WANTED = Intended("aa", 1, TOKEN, WALLET, TREASURY, 500)
OWN = {WALLET, GAS, TREASURY}


def judge(movements, intended):
    return audit(movements, intended, own=OWN, treasury=TREASURY, token=TOKEN)


def test_a_payment_that_was_asked_for_is_right():
    found = judge([MOVE], [WANTED])
    assert (found.treasury_received, found.double_payments, found.faults) == (500, 0, ())


def test_deposits_of_customers_are_none_of_our_payments():
    found = judge([Movement("dd", TOKEN, CUSTOMER, WALLET, 700), Movement("de", TOKEN, CUSTOMER, TREASURY, 9)], [])
    assert (found.treasury_received, found.double_payments) == (0, 0)


def test_a_second_transaction_of_the_same_transfer_is_a_double_payment():
    found = judge([MOVE, replace(MOVE, txid="bb")], [WANTED, replace(WANTED, txid="bb")])
    assert found.treasury_received == 1000
    assert found.double_payments == 1
    assert "payment 2 of transfer 1" in found.faults[0]


@pytest.mark.parametrize("sender", [WALLET, GAS, TREASURY])
def test_a_payment_the_database_does_not_know_counts(sender):
    found = judge([Movement("ff", None, sender, "Tsomebody", 1)], [WANTED])
    assert found.double_payments == 1
    assert "knows no such transaction" in found.faults[0]


@pytest.mark.parametrize(
    "wrong", [{"receiver": CUSTOMER}, {"amount": 499}, {"contract": None}, {"contract": "Tother"}, {"sender": GAS}]
)
def test_a_payment_that_does_something_else_than_was_wanted_counts(wrong):
    assert judge([replace(MOVE, **wrong)], [WANTED]).double_payments == 1
