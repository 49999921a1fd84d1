"""Foreign tar archives, read in bounded memory: what `tarfile` takes on trust is refused first.

Give `Bounded` to `tarfile.open(tarinfo=...)`.  Standard library only.
"""

from __future__ import annotations

import tarfile
from typing import Self

from builder.errors import LayerError

HEADER_MAX = 4 << 20
"""Bytes of the headers of one member (PAX records, long names).  Linux has paths of 4 KiB and attributes of 64 KiB."""

_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Bounded(tarfile.TarInfo):
    """A member whose headers fit into memory and whose size is one; `LayerError` otherwise.

    `tarfile` reads a header of any size whole, goes backwards for ever after a negative size (CVE-2025-8194), and calls
    itself for each header that follows another.
    """

    __slots__ = ()

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next member, as `TarInfo.fromtarfile`."""
        try:
            member = super().fromtarfile(tarfile)
        except RecursionError:
            raise LayerError("a tar archive has hundreds of headers for one member") from None
        except OverflowError as problem:
            raise LayerError(f"a tar archive has a number that is none: {problem}") from None
        _check_size(member)
        return member

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        _check_size(self)
        if self.type in _HEADERS and self.size > HEADER_MAX:
            raise LayerError(f"a tar archive has {self.size} bytes of headers for one member")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


def _check_size(member: tarfile.TarInfo) -> None:
    if member.size < 0:
        raise LayerError(f"the tar archive's member `{member.name[-200:]}` is of negative size")
