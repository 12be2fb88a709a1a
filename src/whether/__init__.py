"""Prompt, fine-tune or both? Measured on your own task, with an interval and a price."""

__version__ = "0.2.0"
