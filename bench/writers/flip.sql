-- One wallet's flag turned over: a commit that notifies in half of all cases.
\set wallet random(1, :wallets)
UPDATE wallets SET needs_consolidation = NOT needs_consolidation WHERE id = ('00000000-0000-7000-8000-' || lpad(to_hex(:wallet::integer), 12, '0'))::uuid;
