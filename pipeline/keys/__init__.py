"""Mnemonic, derivation, signing: the only room that sees a private key."""
