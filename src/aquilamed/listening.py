"""Taking an address to serve at, and telling those that only this machine reaches."""

import ipaddress
import socket as sockets

from aquilamed.config import Invalid


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> sockets.socket:
    """A bound socket. Raises `Invalid` when the address is not this machine's or is in use."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    socket = sockets.socket(family)
    socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    try:
        socket.bind((host.strip("[]"), port))
    except OSError as error:
        socket.close()
        raise Invalid(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another with --host and --port"
        ) from error
    return socket
