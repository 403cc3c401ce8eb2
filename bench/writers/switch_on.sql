-- The same again.
ALTER TABLE wallets ENABLE TRIGGER USER
