"""Clones: what of an address is a secret stays in no file of the clone, and in no error."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_index import Told

from builder.errors import ResolveError
from builder.fetch import default_session
from builder.lock import Built
from builder.resolve import repository
from builder.resolve.requirements import read
from builder.resolve.unbuilt import Source, fetch_line, source_of
from builder.store import Store

TOKEN = "t0ken-of-a-user"
ENV = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A repository that git reads by plain files, at `HOST/x.git`."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(tmp_path / "source")]
    subprocess.run(["git", "init", "--quiet", tmp_path / "source"], check=True)
    (tmp_path / "source" / "file").write_text("x")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    bare = tmp_path / "served" / "x.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", tmp_path / "source", bare], check=True)
    subprocess.run(["git", "-C", bare, "update-server-info"], check=True)

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Silent, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_token_is_not_in_the_clone(host: str, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    _, url, commit = repository.clone("x", place=f"http://{TOKEN}@{host}/x.git", folder=folder, env=ENV)
    assert (url, len(commit)) == (f"http://{host}/x.git", 40)
    assert (folder / "file").read_text() == "x"
    found = subprocess.run(["grep", "-rl", TOKEN, folder], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_what_no_branch_has(host: str, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(tmp_path / "served/x.git")]
    made = subprocess.run(
        [*git, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "two"], check=True, stdout=subprocess.PIPE
    )
    commit = made.stdout.decode().strip()
    subprocess.run([*git, "update-ref", "refs/pull/7/head", commit], check=True)
    subprocess.run([*git, "update-server-info"], check=True)
    for number, (revision, known) in enumerate([("@refs/pull/7/head", ""), ("", commit)]):
        place, folder = f"http://{host}/x.git{revision}", tmp_path / f"clone{number}"
        assert repository.clone("x", place=place, folder=folder, env=ENV, commit=known)[2] == commit


def test_variables_in_the_requirements(host: str, store: Store, tmp_path: Path, told: Told) -> None:
    text = f"x @ git+http://me:${{TOKEN}}@{host}/${{NAME}}.git\n"
    (line,) = read(text, project=tmp_path, report=told).sources
    env = {**ENV, "TOKEN": TOKEN, "NAME": "x"}
    found = fetch_line(line, store=store, scratch=tmp_path, env=env, new_session=default_session)
    assert found.url == f"http://{host}/x.git"
    assert not told.warnings
    read(text.replace("${TOKEN}", TOKEN), project=tmp_path, report=told)
    assert "holds a password" in told.warnings[0] and TOKEN not in told.warnings[0]


def test_a_password_is_in_no_error(host: str, tmp_path: Path) -> None:
    place = f"http://me:{TOKEN}@{host}/none.git"
    with pytest.raises(ResolveError) as caught:
        repository.clone("x", place=place, folder=tmp_path / "clone", env=ENV)
    assert host in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_lock_names_no_folder_outside_of_its_project(store: Store, tmp_path: Path) -> None:
    for name in ("project/own", "project/scratch", "private"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")

    def read(url: str) -> Source:
        return source_of(
            Built(sha256="0" * 64, key="k", source="directory", url=url), name="x", project=tmp_path / "project",
            store=store, scratch=tmp_path / "project" / "scratch", env={}, new_session=default_session,
        )  # fmt: skip

    with pytest.raises(ResolveError, match="outside the project"):
        read("../private")
    assert (read("own").path / "file").read_text() == "x"
