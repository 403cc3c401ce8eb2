"""Alerts for those without Prometheus: what is wrong by which rule, and how people are told of it."""
