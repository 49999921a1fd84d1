from __future__ import annotations

from pathlib import Path

import pytest

from builder.resolve.debian.sources import host_mirrors

DEB822 = """\
# a comment
Types: deb
URIs: http://one.example/debian/ https://two.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
# inside a stanza
Signed-By: /usr/share/keyrings/x.gpg

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

types: deb deb-src
uris:
 http://three.example/debian-security
suites: trixie-security
components: main

Types: deb
URIs: cdrom:[x]/ ftp://f.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
deb http://four.example/debian bookworm main  # the main one
deb [arch=amd64 signed-by=/x.gpg] file:/srv/mirror trixie main non-free
#deb http://commented.example/debian bookworm main
deb-src http://sources.example/debian bookworm main
deb http://four.example/debian bookworm-updates main
deb http://flat.example/ ./
deb http://other.example/apt cloud-sdk-bookworm main
deb http://old.example/debian bookworm/updates main
deb http://contrib.example/debian bookworm contrib
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    assert host_mirrors(apt) == (
        "http://one.example/debian",
        "https://two.example/debian",
        "http://three.example/debian-security",
    )


def test_one_line(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert host_mirrors(apt) == ("http://four.example/debian", "file:/srv/mirror", "http://old.example/debian")


def test_all_files_in_order_and_each_mirror_once(apt: Path) -> None:
    (apt / "sources.list").write_text("deb http://z.example/debian bookworm main\n")
    (apt / "sources.list.d" / "b.list").write_text("deb http://b.example/debian sid main\n")
    (apt / "sources.list.d" / "a.list").write_text("deb http://z.example/debian/ sid main\n")
    (apt / "sources.list.d" / "a.list.save").write_text("deb http://saved.example/debian sid main\n")
    assert host_mirrors(apt) == ("http://z.example/debian", "http://b.example/debian")


def test_no_apt_at_all(tmp_path: Path) -> None:
    assert host_mirrors(tmp_path / "absent") == ()
