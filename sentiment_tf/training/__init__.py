"""Compiling, distributing, fitting and resuming."""
