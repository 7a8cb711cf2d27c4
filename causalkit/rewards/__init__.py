"""Rewards: how good logged content is in itself, net of the known confounders of its outcome."""
