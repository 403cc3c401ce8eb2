"""Flagpost: flag-driven automation of custodial wallets on Postgres LISTEN/NOTIFY."""
