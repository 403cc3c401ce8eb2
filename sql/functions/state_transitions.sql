-- The moves that jobs, transfers, signing requests, signed attempts and nonces may make, as data: triggers/job_transitions.sql,
-- triggers/money_transitions.sql and triggers/nonces.sql enforce them against everybody, tests walk every pair.
--
-- Guarantees: after every migrate the table holds exactly these rows. From '(new)' lead the states a row
-- may be inserted in; a job may be inserted in any.
WITH moves (subject, from_state, to_state, reason) AS (VALUES
    ('job', 'pending', 'active', 'a worker claims it'),
    ('job', 'pending', 'cancelled', 'an operator cancels it'),
    ('job', 'pending', 'failed', 'an operator gives it up'),
    ('job', 'active', 'completed', 'done, or nothing left to do'),
    ('job', 'active', 'failed', 'retries used up, or no retry could help'),
    ('job', 'active', 'retrying', 'the attempt failed or was rescued'),
    ('job', 'active', 'pending', 'handed back unfinished'),
    ('job', 'retrying', 'active', 'a worker claims it'),
    ('job', 'retrying', 'pending', 'an operator lets it start afresh'),
    ('job', 'retrying', 'cancelled', 'an operator cancels it'),
    ('job', 'retrying', 'failed', 'an operator gives it up'),
    ('job', 'failed', 'pending', 'an operator retries it'),

    ('transfer', '(new)', 'requested', 'a decision is written down'),
    ('transfer', 'requested', 'broadcasting', 'signed bytes are kept, and may leave from now on'),
    ('transfer', 'requested', 'rejected', 'given up, and nothing was signed for it'),
    ('transfer', 'requested', 'included', 'found on the chain, in a final block'),
    ('transfer', 'broadcasting', 'included', 'seen in a block'),
    ('transfer', 'broadcasting', 'expired', 'proved dead'),
    ('transfer', 'included', 'final', 'in a final block, with its effect'),
    ('transfer', 'included', 'reverted', 'in a final block, without its effect'),
    ('transfer', 'included', 'broadcasting', 'its block was forked away'),
    ('transfer', 'expired', 'requested', 'the next attempt is asked for'),
    ('transfer', 'expired', 'rejected', 'given up after it was proved dead'),

    ('signing_request', '(new)', 'asked', 'a payment asks for a signature'),
    ('signing_request', 'asked', 'signed', 'the signer has answered with bytes, and they are kept'),
    ('signing_request', 'asked', 'refused', 'the signer never signed it, or its nonce is used'),

    ('chain_transaction', '(new)', 'broadcasting', 'signed bytes are kept, and may leave from now on'),
    ('chain_transaction', '(new)', 'included', 'found on the chain, in a final block'),
    ('chain_transaction', 'broadcasting', 'included', 'seen in a block'),
    ('chain_transaction', 'broadcasting', 'expired', 'proved dead'),
    ('chain_transaction', 'included', 'final', 'in a final block, with its effect'),
    ('chain_transaction', 'included', 'reverted', 'in a final block, without its effect'),
    ('chain_transaction', 'included', 'broadcasting', 'its block was forked away'),
    ('chain_transaction', 'broadcasting', 'replaced', 'another attempt with its nonce is in a final block'),
    ('chain_transaction', 'included', 'replaced', 'its block was forked away, and another attempt is in a final one'),

    ('nonce', '(new)', 'reserved', 'a payment takes the next one'),
    ('nonce', '(new)', 'void', 'a node''s mempool holds it and no payment of ours has it'),
    ('nonce', '(new)', 'lost', 'found used by somebody else'),
    ('nonce', 'reserved', 'used', 'in a final block with its payment'),
    ('nonce', 'reserved', 'lost', 'used by somebody else'),
    ('nonce', 'reserved', 'void', 'nothing was signed with it, and later ones wait for it'),
    ('nonce', 'void', 'reserved', 'a gap fills it, or a payment of ours was found to have used it'),
    ('nonce', 'void', 'lost', 'found used by somebody else'),
    ('nonce', 'lost', 'reserved', 'what used it is found to be a payment of ours, and recorded')
), gone AS (
    DELETE FROM state_transitions t
    WHERE (t.subject, t.from_state, t.to_state) NOT IN (SELECT m.subject, m.from_state, m.to_state FROM moves m)
)
INSERT INTO state_transitions AS known (subject, from_state, to_state, reason)
SELECT subject, from_state, to_state, reason FROM moves
ON CONFLICT (subject, from_state, to_state) DO UPDATE SET reason = excluded.reason
WHERE known.reason <> excluded.reason;
