-- An amount that somebody writes counts as read; those of the old tables were not read by us, and decide no flag.
UPDATE wallet_balances SET recheck = true WHERE NOT recheck;
