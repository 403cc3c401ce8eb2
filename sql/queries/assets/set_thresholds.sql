-- Both thresholds of a token in one statement, as each is checked against the other. All its wallets are judged anew.
UPDATE asset_on_chain SET consolidate_flag_above = %(flag_above)s, consolidate_execute_min = %(execute_min)s
WHERE id = %(asset_id)s;
