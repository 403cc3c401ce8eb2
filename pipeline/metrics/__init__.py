"""What Prometheus reads of a worker: ``GET /metrics`` at ``worker_registry.port`` (docs/monitoring.md)."""
