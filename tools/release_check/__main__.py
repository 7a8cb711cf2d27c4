"""``python -m tools.release_check``."""

import sys

from tools.release_check.command_line import main

sys.exit(main())
