"""Files that the check copies into an environment's folder: they know causalkit and nothing else of this checkout."""
