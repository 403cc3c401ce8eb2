-- Wallets that are held since the adoption, each with the jobs of unknown state that hold it.
SELECT h.address, c.name AS chain, h.jobs FROM held_since_adoption() h JOIN chains c ON c.id = h.chain_id
ORDER BY c.name, h.address;
