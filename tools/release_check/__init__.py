"""The check before a release: what is built installs and works outside the checkout, at old, tested and new versions.

``python -m tools.release_check`` (or ``make release-check``) needs Python's standard library and pip; ``--help`` lists
the steps. Environments are made in a folder of their own, and nothing of the checkout is changed.
"""
