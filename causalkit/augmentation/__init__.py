"""Augmentation: effects under hidden confounding from transformations that leave the outcome alone."""
