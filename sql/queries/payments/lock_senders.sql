-- Whoever changes the nonces of senders does so alone, until commit. The array is sorted, or two of these could deadlock.
SELECT lock_sender(%(chain_id)s, s.sender) FROM unnest(%(senders)s::text[]) AS s (sender);
