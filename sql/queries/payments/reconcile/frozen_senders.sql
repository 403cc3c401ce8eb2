-- Senders that wait for an operator (release_sender).
SELECT s.sender, c.name AS chain, s.frozen FROM senders s JOIN chains c ON c.id = s.chain_id
 WHERE s.chain_id = %(chain_id)s AND s.frozen IS NOT NULL
 ORDER BY s.frozen_since;
