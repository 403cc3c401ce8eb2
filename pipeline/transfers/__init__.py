"""Moving money exactly once: intent, signed bytes, broadcast, settlement (docs/architecture.md)."""
