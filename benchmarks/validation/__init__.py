"""Acceptance tables, one module or package per family."""
