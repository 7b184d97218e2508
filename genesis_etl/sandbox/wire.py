"""Put an answer on the wire, whole or in the way of a fault."""

import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from threading import Event

from genesis_etl.sandbox.faults import Fault

MEGABYTE = 1 << 20
CHUNKED = "Transfer-Encoding: chunked"

Head = Callable[[str], bytes]  # status line and headers, around the one header that frames the body


class Hangup(Exception):
    """This connection ends here, either way."""


class Wire:
    """One connection of the sandbox. Whatever takes time ends as soon as the sandbox stops."""

    def __init__(self, connection: socket.socket, stopped: Event) -> None:
        self.connection = connection
        self.stopped = stopped

    def say(self, data: bytes) -> None:
        """Send these bytes."""
        if self.stopped.is_set():
            raise Hangup
        self.connection.sendall(data)

    def say_chunk(self, data: bytes) -> None:
        """Send these bytes as a chunk; none of them is the end of the body."""
        self.say(b"%x\r\n%s\r\n" % (len(data), data))

    def wait(self, seconds: float) -> None:
        """Be silent for so many seconds."""
        if self.stopped.wait(seconds):
            raise Hangup

    def reset(self) -> None:
        """Drop the connection with RST in place of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server's file objects hold the socket open; the descriptor itself is closed past them.
        os.close(self.connection.detach())
        raise Hangup

    def drip(self, data: bytes, fault: Fault) -> None:
        """Send some bytes every interval, and the rest at once when the time of the fault is over."""
        step, interval = max(1, fault.options["bytes"]), fault.options["interval"]
        over = time.monotonic() + fault.options["seconds"]
        for place in range(0, len(data), step):
            if time.monotonic() >= over:
                self.say(data[place:])
                return
            self.say(data[place : place + step])
            self.wait(interval)


def transmit(wire: Wire, head: Head, body: bytes, fault: Fault | None) -> None:
    """Send an answer in the way of the fault; raise Hangup where the connection must end with it."""
    whole = head(f"Content-Length: {len(body)}")
    if fault is None:
        wire.say(whole + body)
        return
    options = fault.options
    match fault.kind:
        case "raw":
            raw = options["body"]
            wire.say(raw.encode() if isinstance(raw, str) else raw)
            raise Hangup
        case "close" | "reset":
            places = {"start": 0, "headers": options["bytes"], "body": len(whole) + options["bytes"]}
            wire.say((whole + body)[: places[options["where"]]])
            if fault.kind == "reset":
                wire.reset()
            raise Hangup
        case "short-body":
            wire.say(head(f"Content-Length: {len(body) + options['bytes']}") + body)
            raise Hangup
        case "cut-chunks":
            wire.say(head(CHUNKED))
            wire.say_chunk(body[: options["bytes"]])
            raise Hangup
        case "hang":
            wire.wait(options["seconds"])
            raise Hangup
        case "delay":
            wire.wait(options["seconds"])
            wire.say(whole + body)
        case "close-after":
            wire.say(whole + body)
            wire.wait(options["seconds"])
            raise Hangup
        case "drip":
            _drip(wire, head, body, fault)
        case "endless":
            _flood(wire, head, options["of"])
        case "gzip-bomb":
            _send_bomb(wire, head, body, options["megabytes"])
        case _:
            wire.say(whole + body)


def _drip(wire: Wire, head: Head, body: bytes, fault: Fault) -> None:
    whole = head(f"Content-Length: {len(body)}")
    match fault.options["part"]:
        case "headers":
            wire.drip(whole, fault)
            wire.say(body)
        case "body":
            wire.say(whole)
            wire.drip(body, fault)
        case _:
            wire.say(head(CHUNKED))
            over = time.monotonic() + fault.options["seconds"]
            while time.monotonic() < over:
                wire.say_chunk(b" " * fault.options["bytes"])
                wire.wait(fault.options["interval"])
            wire.say_chunk(body)
            wire.say_chunk(b"")


def _flood(wire: Wire, head: Head, what: str) -> None:
    item = b'{"id":"00000000-0000-4000-8000-000000000000","name":"another","type":"snapshot","regions":[]},'
    block = (item if what == "items" else b" ") * (1 << 16)
    wire.say(head(CHUNKED))
    wire.say_chunk(b'{"total_count":1000000000,"page":1,"per_page":100,"images":[')
    while True:
        wire.say_chunk(block[:MEGABYTE])


def _send_bomb(wire: Wire, head: Head, body: bytes, megabytes: int) -> None:
    """Send the body with white space behind its first brace: valid JSON, if anyone unpacks it."""
    packer = zlib.compressobj(wbits=31)  # 31: the gzip format
    packed = packer.compress(body[:1])
    space = b" " * MEGABYTE
    wire.say(head(f"Content-Encoding: gzip\r\n{CHUNKED}"))
    for _ in range(megabytes):
        packed += packer.compress(space)
        if len(packed) >= 1 << 14:
            wire.say_chunk(packed)
            packed = b""
    wire.say_chunk(packed + packer.compress(body[1:]) + packer.flush())
    wire.say_chunk(b"")
