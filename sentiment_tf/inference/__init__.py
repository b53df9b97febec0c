"""Answering texts with an exported model."""
