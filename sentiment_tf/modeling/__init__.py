"""The network: loading it, cutting it into trunk and tail, and caching what is frozen."""
