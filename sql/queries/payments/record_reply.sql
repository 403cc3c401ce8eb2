-- Notes what nodes said to broadcasts; the arrays run in parallel. It decides nothing, and comes too late for an attempt that was
-- seen in a block in the meantime: that row is left alone.
-- A refusal stays until a node takes the bytes or refuses them for another reason: that one knows them already (a node
-- remembers what it refused), or that none answered, says nothing of why they were refused.
-- Locked in the order of id, as settlement does.
WITH said AS MATERIALIZED (
    SELECT a.id, r.reply
      FROM unnest(%(attempt_ids)s::bigint[], %(replies)s::text[]) AS r (attempt_id, reply)
      JOIN chain_transactions a ON a.id = r.attempt_id
     WHERE a.state = 'broadcasting'
       AND (a.last_result LIKE 'refused: %%' AND r.reply !~ '^(refused|accepted): ') IS NOT TRUE
     ORDER BY a.id
       FOR NO KEY UPDATE OF a
)
UPDATE chain_transactions a SET last_result = said.reply FROM said WHERE a.id = said.id;
