"""Texts in, probabilities out: from a finished run, whatever program computes them."""
