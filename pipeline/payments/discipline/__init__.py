"""How a family orders transactions of a sender: expiring (TRON), numbered (EVM)."""
