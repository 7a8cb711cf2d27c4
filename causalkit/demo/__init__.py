"""The demo: every family's analysis end to end, with a report. Run ``python -m causalkit.demo``.

Analysis and rendering are apart: a chapter returns the plain data of :mod:`causalkit.demo.content`, and
:mod:`causalkit.demo.terminal`, :mod:`causalkit.demo.figures` and :mod:`causalkit.demo.html_report` show them.
"""

from causalkit.demo.command import main

__all__ = ["main"]
