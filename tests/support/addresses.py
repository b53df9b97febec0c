"""Addresses for workers on this machine."""

import socket


def free_addresses(count: int) -> tuple[str, ...]:
    """Returns ``host:port`` of as many ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    return addresses
