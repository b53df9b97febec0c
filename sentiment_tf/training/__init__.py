"""Compiling and fitting the trainable layers, early stopping, checkpoints and resuming."""
