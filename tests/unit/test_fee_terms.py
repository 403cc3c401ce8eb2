"""The fee settings that `config` knows are those the EVM provider takes, with the same defaults."""

from dataclasses import asdict

from pipeline.chains.evm.rpc.fees import FeePolicy
from pipeline.config.terms import FEE_TERMS


def test_every_fee_option_is_a_setting_with_its_default():
    assert {name: column.default for name, column in FEE_TERMS.items()} == asdict(FeePolicy())


def test_a_null_is_allowed_where_the_provider_allows_it():
    for name, column in FEE_TERMS.items():
        if column.optional:
            assert FeePolicy.parse({name: None}) == FeePolicy()
