"""A project's folder as entries."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from builder.errors import LayerError
from builder.plan import Entry
from builder.resolve.source import LARGE, Source, is_part, scan, split_large


def sha256(path: Path, stat: os.stat_result) -> str:
    assert stat.st_size == path.stat().st_size
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def paths(root: Path) -> list[str]:
    return [entry.path for entry in scan(root, hash_file=sha256).entries]


def test_entries_are_exact(tmp_path: Path) -> None:
    make(tmp_path, {"b.py": "x", "a/run.sh": "echo", "a.txt": ""})
    (tmp_path / "a/run.sh").chmod(0o700)
    (tmp_path / "b.py").chmod(0o666)
    (tmp_path / "a").chmod(0o775)
    (tmp_path / "link").symlink_to("a/run.sh")
    (tmp_path / "gone").symlink_to("/nowhere")
    (tmp_path / "folder").symlink_to("a")
    digest = {text: hashlib.sha256(text.encode()).hexdigest() for text in ("x", "echo", "")}
    assert scan(tmp_path, hash_file=sha256) == Source(
        entries=(
            Entry(path="a", type="dir", mode=0o755),
            Entry(path="a.txt", mode=0o644, size=0, sha256=digest[""]),
            Entry(path="a/run.sh", mode=0o755, size=4, sha256=digest["echo"]),
            Entry(path="b.py", mode=0o644, size=1, sha256=digest["x"]),
            Entry(path="folder", type="symlink", mode=0o777, target="a"),
            Entry(path="gone", type="symlink", mode=0o777, target="/nowhere"),
            Entry(path="link", type="symlink", mode=0o777, target="a/run.sh"),
        )
    )


def test_umask_does_not_matter(tmp_path: Path) -> None:
    found = []
    for umask in (0o022, 0o077):
        old = os.umask(umask)
        try:
            root = tmp_path / f"{umask:o}"
            make(root, {"d/a": "1", "b": "2"})
        finally:
            os.umask(old)
        found.append(scan(root, hash_file=sha256))
    assert found[0] == found[1]


def test_sorted_by_bytes(tmp_path: Path) -> None:
    names = ["a-b", "a/x", "a.b", "ä", "Z", "\U0001f600", "\uff5e", "a0"]
    make(tmp_path, dict.fromkeys(names, ""))
    found = paths(tmp_path)
    assert found == sorted(found, key=str.encode)
    assert found.index("\uff5e") < found.index("\U0001f600")


def test_own_folder_is_left_out_and_git_is_not(tmp_path: Path) -> None:
    make(tmp_path, {".cog/tmp": "", ".git/HEAD": "", "sub/.cog/x": "", "a.py": ""})
    assert paths(tmp_path) == [".git", ".git/HEAD", "a.py", "sub", "sub/.cog", "sub/.cog/x"]


def test_dockerignore(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            ".dockerignore": "data\n!data/keep/me\n**/*.pyc\nempty\n",
            "data/x": "",
            "data/keep/me": "",
            "data/keep/other": "",
            "data/deep/er/x": "",
            "m/a.pyc": "",
            "m/a.py": "",
            "empty/x": "",
        },
    )
    # the folders above what is brought back come with it; the others do not
    assert paths(tmp_path) == [".dockerignore", "data", "data/keep", "data/keep/me", "m", "m/a.py"]


def test_what_will_be_part_of_it(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("out/*\n!out/kept\n")
    paths = ("new", "a/b/c", "out/new", "out/kept", ".cog", ".cog/context", "a/.cog")
    assert [path for path in paths if is_part(tmp_path, path)] == ["new", "a/b/c", "out/kept", "a/.cog"]


def test_ignored_files_are_not_hashed_nor_need_be_readable(tmp_path: Path) -> None:
    make(tmp_path, {".dockerignore": "big\n*.sock\n", "big/x": "x", "a": ""})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "s.sock"))
    hashed = []

    def recording(path: Path, stat: os.stat_result) -> str:
        hashed.append(path.name)
        return sha256(path, stat)

    scan(tmp_path, hash_file=recording)
    assert sorted(hashed) == [".dockerignore", "a"]


def test_empty_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert paths(tmp_path) == ["out"]


def test_a_socket_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LayerError, match="`pipe` is a socket, pipe or device") as caught:
        scan(tmp_path, hash_file=sha256)
    assert ".dockerignore" in (caught.value.hint or "")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    try:
        with open(os.fsencode(tmp_path) + b"/a\xff", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(LayerError, match="is not UTF-8"):
        scan(tmp_path, hash_file=sha256)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    make(tmp_path, {"a": ""})

    def refuse(path: Path, stat: os.stat_result) -> str:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(LayerError, match=r"could not read .*Permission denied"):
        scan(tmp_path, hash_file=refuse)


def test_large_files() -> None:
    def entry(path: str, size: int) -> Entry:
        return Entry(path=path, size=size, sha256="0" * 64)

    small = [entry("a.bin", LARGE - 1)]
    code = [
        entry(name, LARGE)
        for name in ("m.py", "n.ipynb", "w.whl", "i.JPG", "v.mp4", "x.log", ".git/pack", "d/__pycache__/x")
    ]
    weights = [entry("m.bin", LARGE), entry("d/w.safetensors", 3 * LARGE)]
    rest, large = split_large(Source(entries=(*small, *code, *weights)))
    assert rest == (*small, *code)
    assert large == tuple(weights)


def test_at_most_so_many_large_files_the_largest_first() -> None:
    entries = tuple(Entry(path=f"{i:03}", size=LARGE + i % 50, sha256="0" * 64) for i in range(100))
    rest, large = split_large(Source(entries=entries), most=40)
    assert len(large) == 40
    assert min(entry.size for entry in large) >= max(entry.size for entry in rest)
    assert [entry.path for entry in large] == sorted(entry.path for entry in large)
