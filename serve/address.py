"""The endpoint's address: free ports, and whether others can reach it."""

import ipaddress
import os
import socket
import sys

from pipeline.errors import UserError
from serve.key import KEY_VARIABLE


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0, after a trial that binds it for a moment.

    Args:
        host: the address to listen on.
        port: 0 to 65535.

    Raises:
        UserError: it cannot be bound, or Ray Serve would listen on more than the host.
    """
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "0") == "1" and is_loopback(host):
        raise UserError(
            "RAY_SERVE_ENABLE_HA_PROXY=1 makes Ray Serve listen on every address, whatever --host "
            "says; unset it, or give --host 0.0.0.0 and a key"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port that a stopped server has just left counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            bound_port: int = probe.getsockname()[1]
            return bound_port
    except OSError as error:
        raise UserError(
            f"cannot listen on port {port} of {host}: {error.strerror}; give another --port or "
            "--host, or stop what uses it"
        ) from None


def warn_when_open(host: str, *, has_key: bool) -> None:
    """Warns on stderr if anyone who reaches the endpoint can use it."""
    if not has_key and not is_loopback(host):
        print(
            f"warning: whoever reaches {host} can use this endpoint; set {KEY_VARIABLE} or "
            "--api-key-file to ask for a key",
            file=sys.stderr,
        )


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds the endpoint."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
