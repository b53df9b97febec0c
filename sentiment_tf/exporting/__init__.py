"""A trained model written in the formats that other programs read."""
