-- A consolidation found its wallet short of the fee: gas comes first. The wallet stays flagged for
-- consolidation, and the commit that clears needs_gas starts it again.
UPDATE wallets SET needs_gas = true WHERE id = %(wallet_id)s AND NOT needs_gas;
