"""Entry point of ``python -m causalkit.demo``."""

import sys

from causalkit.demo.command import main

sys.exit(main())
