"""Comparisons with other packages, one module or package per family."""
