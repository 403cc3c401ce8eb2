-- Makes room for a local network: the chain of its name that the migrations ship, and its assets, go.
-- Guarantees: only as long as nobody has named a node for it or put a wallet on it.
WITH shipped AS (
    SELECT c.id FROM chains c
    WHERE c.name = %(chain)s AND c.network_id <> %(network_id)s AND c.nodes = '[]'
      AND NOT EXISTS (SELECT FROM wallets w WHERE w.chain_id = c.id)
), assets AS (
    DELETE FROM asset_on_chain WHERE chain_id IN (SELECT id FROM shipped)
)
DELETE FROM chains WHERE id IN (SELECT id FROM shipped);
