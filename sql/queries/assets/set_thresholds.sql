-- The thresholds and the tolerance of a token in one statement, as each is checked against the others. All its wallets are judged
-- anew.
UPDATE asset_on_chain SET consolidate_flag_above = %(flag_above)s, consolidate_execute_min = %(execute_min)s,
       transfer_tolerance = %(tolerance)s
WHERE id = %(asset_id)s;
