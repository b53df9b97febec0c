"""Scoring many files: a plan of fragments, workers that answer them, one output file for each."""
