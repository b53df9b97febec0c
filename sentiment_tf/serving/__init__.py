"""The export, and everything that answers from it without the training code."""
