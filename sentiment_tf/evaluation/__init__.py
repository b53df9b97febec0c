"""Evaluation of predictions: metrics with intervals, comparison of two models, calibration."""
