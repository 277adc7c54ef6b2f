"""A small RTSP server (RFC 2326) for one H.264 clip, RTP interleaved in the same connection."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import av
import clips

CLOCK = 90_000
_SPS, _PPS = 7, 8


class RtspServer:
    """Serves a clip of 32 x 24 pixels and 25 frames a second, then closes the connection.

    Args:
        num_frames: length of the clip.
        connections: how many players are served; later ones are refused.
    """

    def __init__(self, num_frames: int, connections: int) -> None:
        self._frames = list(_encoded(num_frames))
        self._connections = connections
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"rtsp://127.0.0.1:{self._socket.getsockname()[1]}/clip"
        self.plays: list[str] = []
        """The transports that players asked for."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._socket:
            served = 0
            while served < self._connections:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rb") as requests:
                    served += self._talk(connection, requests)

    def _talk(self, connection: socket.socket, requests: Any) -> bool:
        """Answer requests until the clip has been played; whether it has."""
        for line in requests:
            method = line.split(b" ")[0].decode()
            headers = {}
            while (header := requests.readline().strip()) != b"":
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            connection.sendall(self._answer(method, headers))
            if method == "PLAY":
                with contextlib.suppress(ConnectionError):  # the player has gone
                    self._play(connection)
                return True
        return False

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        lines, body = [f"CSeq: {headers.get('cseq', '0')}", "Session: 1"], ""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = self._description()
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            self.plays.append(headers["transport"])
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        return "\r\n".join(["RTSP/1.0 200 OK", *lines, "", body]).encode()

    def _description(self) -> str:
        units = {unit[0] & 31: base64.b64encode(unit).decode() for unit in self._frames[0]}
        sets = f"{units[_SPS]},{units[_PPS]}"
        lines = [
            *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=clip", "t=0 0"),
            *("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=control:track0"),
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}",
        ]
        return "\r\n".join([*lines, ""])

    def _play(self, connection: socket.socket) -> None:
        number = 0
        for index, units in enumerate(self._frames):
            for unit in units:
                marker = 0x80 if unit is units[-1] else 0
                stamp = index * CLOCK // 25
                packet = struct.pack(">BBHII", 0x80, marker | 96, number, stamp, 1) + unit
                connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                number += 1


def _encoded(num_frames: int) -> Iterator[list[bytes]]:
    """The NAL units of each frame of `clips.colour_bars`."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 32, 24, "yuv420p"
    encoder.time_base, encoder.framerate = clips.Fraction(1, 25), clips.Fraction(25)
    encoder.options = {"tune": "zerolatency", "g": "6"}
    for index in range(num_frames):
        frame = av.VideoFrame.from_ndarray(clips.colour_bars(index, 24, 32), format="rgb24")
        frame.pts = index
        for packet in encoder.encode(frame):
            units = re.split(rb"\x00{2,3}\x01", bytes(packet))
            yield [unit for unit in units if unit]
