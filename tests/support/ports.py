"""Ports of the loopback interface that nobody listens on."""
import socket

_given: set[int] = set()


def free_port() -> int:
    """Never the same twice: who was given one may not listen yet."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port
