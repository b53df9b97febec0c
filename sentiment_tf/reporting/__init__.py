"""What a person reads after a run: metrics, plots, pages."""
