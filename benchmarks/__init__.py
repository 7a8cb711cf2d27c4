"""Acceptance tables of the families, and comparisons with peers: ``python -m benchmarks``."""
