-- Wallets that are frozen since the adoption, each with its jobs of unknown state.
SELECT h.address, c.name AS chain, h.jobs FROM frozen_since_adoption() h JOIN chains c ON c.id = h.chain_id
ORDER BY c.name, h.address;
