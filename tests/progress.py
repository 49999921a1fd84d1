"""What a program tells of its progress, and a program that is held in the midst of its work by nobody's listening."""

from __future__ import annotations

import contextlib
import socket

PATIENCE = 120.0


class Progress:
    """The standard error of a program that is started with `--progress tty`.

    Progress is drawn many times a second, and there is room for some few drawings: what we saw begin goes on only when
    we read on, so it is not over, however busy the machine is.
    """

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self._ours.settimeout(PATIENCE)
        self._seen = ""

    def fileno(self) -> int:
        """For the program; ours is closed by the first reading."""
        return self._theirs.fileno()

    def until(self, text: str) -> str:
        """Read until it has told `text`, and no further."""
        self._theirs.close()
        while text not in self._seen:
            piece = self._ours.recv(256)
            assert piece, self._seen  # it ended
            self._seen += piece.decode(errors="replace")
        return self._seen

    def all(self) -> str:
        """Everything, to its end."""
        with self._ours, contextlib.suppress(ConnectionResetError):
            while piece := self._ours.recv(65536):
                self._seen += piece.decode(errors="replace")
        return self._seen
