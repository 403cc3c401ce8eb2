-- One wallet's flag turned over: a commit that rings in half of all cases.
\set wallet random(1, :wallets)
UPDATE wallets SET needs_consolidation = NOT needs_consolidation WHERE id = :wallet;
