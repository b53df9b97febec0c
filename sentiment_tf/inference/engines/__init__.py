"""Programs that compute a trained model's answers, one module each, all with the same methods."""
