"""Nodes over HTTP: requests, batches, failover, bounded answers; of every family."""
