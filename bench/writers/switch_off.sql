-- The triggers of wallets, which only the owner can switch off.
ALTER TABLE wallets DISABLE TRIGGER USER
