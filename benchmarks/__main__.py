"""``python -m benchmarks``."""

import sys

from benchmarks.command_line import main

sys.exit(main())
