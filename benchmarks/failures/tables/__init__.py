"""Failure tables of the families: one module each, with its rows in ``TABLE``."""
