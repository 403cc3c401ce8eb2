"""Chains behind one provider interface. Knows no database and no private key."""
