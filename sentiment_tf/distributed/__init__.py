"""Several devices and several machines: strategies, clusters, collective operations."""
