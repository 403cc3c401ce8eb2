-- A payment that is final and arrived otherwise than intended: the token takes a fee on transfers, or is kept as shares and rounds.
--
-- Guarantees before any application code runs: only a final payment says what arrived, and only where that is not its amount.
ALTER TABLE transfers
    -- What arrived, raw units, where it is not the amount; NULL: the amount, or not final.
    ADD COLUMN arrived raw_amount,
    ADD CONSTRAINT arrived_otherwise_means_final CHECK (arrived IS NULL OR (state = 'final' AND arrived > 0 AND arrived <> amount));
