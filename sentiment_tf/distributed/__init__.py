"""Several devices and several machines: strategies, clusters, and what their workers exchange."""
