"""From the chain back to the database."""
