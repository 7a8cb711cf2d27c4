"""Failure book: what the library answers to bad input, broken files and interrupts.

:mod:`~benchmarks.failures.register` runs the rows of the failure tables, which are listed by family in ``tables``;
:mod:`~benchmarks.failures.hostile` holds the inputs, :mod:`~benchmarks.failures.targets` the calls and
:mod:`~benchmarks.failures.fuzzing` the property that they must keep; :mod:`~benchmarks.failures.files` damages saved
files, and :mod:`~benchmarks.failures.interrupts` stops fits half-way. :mod:`~benchmarks.failures.book` puts the
rows on one page.
"""
