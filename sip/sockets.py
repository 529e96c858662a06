"""Sockets of the sip process: UDP for signalling and media, unix stream sockets for agents and for statistics."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sip.address import Address
from sip.errors import ConfigurationError

MAX_DATAGRAM_BYTES: Final = 65_535
SIGNALLING_BURST: Final = 64
MEDIA_BURST: Final = 16
_BUFFER_BYTES: Final = 1 << 20


def family_of(host: str) -> socket.AddressFamily:
    """Return the address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind_udp(host: str, port: int) -> socket.socket:
    """Return a bound, non-blocking UDP socket; raises OSError."""
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bind_signalling(host: str, port: int) -> socket.socket:
    """Return the SIP socket; raises :class:`sip.errors.ConfigurationError` where the port cannot be had."""
    try:
        sock = bind_udp(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"UDP port {port} on {host} is taken; expected a free one (is another telephone program running?)"
        else:
            text = f"UDP port {port} on {host} cannot be used ({error.strerror}); expected an address of this machine"
        raise ConfigurationError(text) from error
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    return sock


def bind_unix(path: str) -> socket.socket:
    """Return a listening socket of mode 0600; one left behind by a dead process is replaced.

    Raises :class:`sip.errors.ConfigurationError` where a live process listens there, or the path is impossible.
    """
    try:
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            sock.bind(path)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
        sock.setblocking(False)
        sock.listen(16)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"{path} cannot be made ({reason}); expected a writable run_directory"
        ) from error
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ConfigurationError(f"{path} is there already and no socket; expected nothing of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            Path(path).unlink(missing_ok=True)
            return
    raise ConfigurationError(f"{path} is in use; expected no other sip process in this run_directory")


def local_host_towards(peer: str, bound: str) -> str:
    """Return the local address that ``peer`` is reached from: ``bound`` unless that is a wildcard."""
    if not ipaddress.ip_address(bound).is_unspecified:
        return bound
    family = family_of(peer)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket asks for a route and sends nothing.
            probe.connect((peer, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def default_host(bound: str) -> str:
    """Return the address to be known by where no peer is known yet: that of the default route."""
    return local_host_towards("2001:db8::1" if ":" in bound else "192.0.2.1", bound)


class MediaSockets:
    """RTP sockets of all legs, on even ports of a range, taken in turn.

    In turn, because packets meant for a call that has just ended must not reach the one that begins.
    """

    def __init__(
        self,
        host: str,
        ports: range,
        advertise: Callable[[str], str],
        receive: Callable[[int, bytes, tuple[str, int]], None],
    ) -> None:
        """``advertise(peer)`` gives our address as the peer sees it; ``receive`` gets every datagram."""
        self._host = host
        self._ports = [port for port in ports if port % 2 == 0]
        self._next = 0
        self._advertise = advertise
        self._receive = receive
        self._sockets: dict[int, socket.socket] = {}
        self.unsent = 0

    def open(self, leg_id: int, peer: str) -> Address | None:
        """Bind the next free port for a leg; None where there is none."""
        for _ in range(len(self._ports)):
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            try:
                sock = bind_udp(self._host, port)
            except OSError:
                continue
            self._sockets[leg_id] = sock
            asyncio.get_running_loop().add_reader(sock.fileno(), self._read, leg_id, sock)
            return Address(self._advertise(peer), port)
        return None

    def close(self, leg_id: int) -> None:
        """Close the leg's socket."""
        sock = self._sockets.pop(leg_id, None)
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()

    def close_all(self) -> None:
        """Close every socket."""
        for leg_id in list(self._sockets):
            self.close(leg_id)

    def send(self, leg_id: int, data: bytes, destination: Address) -> None:
        """Send one datagram; what cannot be sent now is lost, as on any network."""
        sock = self._sockets.get(leg_id)
        if sock is None:
            return
        try:
            sock.sendto(data, (destination.host, destination.port))
        except OSError:
            self.unsent += 1

    def _read(self, leg_id: int, sock: socket.socket) -> None:
        for data, source in read_burst(sock, MEDIA_BURST):
            self._receive(leg_id, data, source)


def read_burst(sock: socket.socket, limit: int) -> list[tuple[bytes, tuple[str, int]]]:
    """Return up to ``limit`` datagrams that have arrived."""
    datagrams = []
    for _ in range(limit):
        try:
            data, source = sock.recvfrom(MAX_DATAGRAM_BYTES)
        except OSError:
            break
        datagrams.append((data, (source[0], source[1])))
    return datagrams
