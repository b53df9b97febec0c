"""Writing a trained model in the formats it is used in, and proving each of them."""
