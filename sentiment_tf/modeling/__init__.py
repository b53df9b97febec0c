"""The network: loading it, running its frozen layers once, and training the layers above them."""
