"""A listening socket on loopback."""

import errno
import socket

from dqn.config import ConfigError

HOST = "127.0.0.1"

PORT = 6007
"""The one after TensorBoard's."""


def listen(port: int, or_next: bool) -> socket.socket:
    """A socket that listens on the port; if it is in use and ``or_next``, on the next free one.

    Raises:
        ConfigError: the port is in use, or may not be used.
    """
    try:
        return _listen(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(f"port {port} cannot be used: {error.strerror}") from None
    for other in range(port + 1, min(port + 100, 65535) + 1):
        try:
            found = _listen(other)
        except OSError:
            continue
        if or_next:
            return found
        found.close()
        raise ConfigError(f"port {port} is in use; --port {other} is free")
    raise ConfigError(f"port {port} is in use, and so are those after it; name another --port")


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        # A port is free again at once after the program that used it has ended.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
