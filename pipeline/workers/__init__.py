"""One thin module per process of the Procfile, and the life they share (runtime, registry, executor)."""
