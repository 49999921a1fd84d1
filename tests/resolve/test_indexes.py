"""Whose settings count: uv's own first, then pip's; and what is said of an index that is out of order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_index import Told

from builder.errors import ConfigError, ResolveError
from builder.resolve.indexes import credentials, has_own, uv_environment
from builder.resolve.uv import explained


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Nothing is configured but what a test writes below `home`."""
    (tmp_path / "home").mkdir()
    return {"HOME": os.fspath(tmp_path / "home"), "XDG_CONFIG_DIRS": os.fspath(tmp_path / "xdg")}


def quiet_pip(env: dict[str, str]) -> dict[str, str]:
    return {**env, "PIP_CONFIG_FILE": os.devnull}


def made(env: dict[str, str], told: Told | None = None) -> dict[str, str]:
    found = uv_environment(env, report=told or Told())
    return {name: value for name, value in found.items() if env.get(name) != value and name not in FIXED}


FIXED = {"NO_COLOR", "UV_NO_PROGRESS", "UV_NO_WRAP", "UV_PYTHON_DOWNLOADS"}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_settings_there_are_none(env: dict[str, str]) -> None:
    assert made(quiet_pip(env)) == {}


def test_pips_variables(env: dict[str, str], tmp_path: Path) -> None:
    given = {
        **quiet_pip(env),
        "PIP_INDEX_URL": "https://a.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "https://b.invalid/simple https://c.invalid/simple",
        "PIP_FIND_LINKS": f"{tmp_path} https://d.invalid/links",
        "PIP_CERT": "/etc/ca.pem",
        "PIP_TRUSTED_HOST": "a.invalid b.invalid",
        "PIP_TIMEOUT": "7",
        "PIP_PROXY": "http://proxy.invalid:3128",
    }
    assert made(given) == {
        "UV_DEFAULT_INDEX": "https://a.invalid/simple",
        "UV_EXTRA_INDEX_URL": "https://b.invalid/simple https://c.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},https://d.invalid/links",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_INSECURE_HOST": "a.invalid b.invalid",
        "UV_HTTP_TIMEOUT": "7",
        "ALL_PROXY": "http://proxy.invalid:3128",
    }


def test_uvs_own_variables_win_kind_by_kind(env: dict[str, str], tmp_path: Path) -> None:
    pip = {
        **quiet_pip(env),
        "PIP_INDEX_URL": "https://pip.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.invalid/simple",
        "PIP_FIND_LINKS": os.fspath(tmp_path),
        "PIP_CERT": "/pip.pem",
    }
    assert "UV_DEFAULT_INDEX" not in made({**pip, "UV_INDEX_URL": "https://uv.invalid/simple"})
    assert "UV_DEFAULT_INDEX" not in made({**pip, "UV_DEFAULT_INDEX": "https://uv.invalid/simple"})
    assert "UV_EXTRA_INDEX_URL" not in made({**pip, "UV_INDEX": "https://uv.invalid/simple"})
    assert "UV_FIND_LINKS" not in made({**pip, "UV_FIND_LINKS": "/uv"})
    assert "UV_INDEX_STRATEGY" not in made({**pip, "UV_INDEX_STRATEGY": "first-index"})
    assert "SSL_CERT_FILE" not in made({**pip, "SSL_CERT_FILE": "/uv.pem"})
    assert made({**pip, "UV_INDEX_URL": "https://uv.invalid/simple"})["UV_FIND_LINKS"] == os.fspath(tmp_path)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('index-url = "https://uv.invalid/simple"\n', "UV_DEFAULT_INDEX"),
        ('[[index]]\nurl = "https://uv.invalid/simple"\ndefault = true\n', "UV_DEFAULT_INDEX"),
        ('[pip]\nindex-url = "https://uv.invalid/simple"\n', "UV_DEFAULT_INDEX"),
        ('[[index]]\nurl = "https://uv.invalid/simple"\n', "UV_EXTRA_INDEX_URL"),
        ('find-links = ["/uv"]\n', "UV_FIND_LINKS"),
        ('index-strategy = "first-index"\n', "UV_INDEX_STRATEGY"),
    ],
)
def test_uvs_own_files_win(env: dict[str, str], tmp_path: Path, text: str, kept: str) -> None:
    pip = {
        **quiet_pip(env),
        "PIP_INDEX_URL": "https://pip.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.invalid/simple",
        "PIP_FIND_LINKS": os.fspath(tmp_path),
    }
    every = {"UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"}
    write(tmp_path / "home/.config/uv/uv.toml", text)
    assert every - set(made(pip)) >= {kept}
    assert set(made({**pip, "UV_NO_CONFIG": "1"})) == every
    write(tmp_path / "other.toml", "")
    assert set(made({**pip, "UV_CONFIG_FILE": os.fspath(tmp_path / "other.toml")})) == every


def test_pips_files_in_their_order(env: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(
        tmp_path / "xdg/pip/pip.conf",
        "[global]\nindex-url = https://global.invalid/s\nextra-index-url = https://x.invalid/s\n",
    )
    assert made(env)["UV_DEFAULT_INDEX"] == "https://global.invalid/s"
    write(home / ".pip/pip.conf", "[global]\nindex_url = https://legacy.invalid/s\n")
    assert made(env)["UV_DEFAULT_INDEX"] == "https://legacy.invalid/s"
    write(
        home / ".config/pip/pip.conf",
        "[install]\nindex-url = https://user.invalid/s\nextra-index-url =\n  https://1.invalid/s\n  https://2.invalid/s\n",
    )
    assert made(env)["UV_DEFAULT_INDEX"] == "https://user.invalid/s"
    assert made(env)["UV_EXTRA_INDEX_URL"] == "https://1.invalid/s https://2.invalid/s"
    write(tmp_path / "chosen.conf", "[install]\nindex-url = https://chosen.invalid/s\n")
    chosen = {**env, "PIP_CONFIG_FILE": os.fspath(tmp_path / "chosen.conf")}
    assert made(chosen)["UV_DEFAULT_INDEX"] == "https://chosen.invalid/s"
    assert made({**chosen, "PIP_INDEX_URL": "https://env.invalid/s"})["UV_DEFAULT_INDEX"] == "https://env.invalid/s"
    assert "UV_DEFAULT_INDEX" not in made(quiet_pip(env))


def test_a_percent_sign_is_no_interpolation(env: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nindex-url = https://u:p%40q@a.invalid/s\n")
    assert made(env)["UV_DEFAULT_INDEX"] == "https://u:p%40q@a.invalid/s"


def test_a_broken_file_of_pip_is_named(env: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "index-url = x\n")
    with pytest.raises(ConfigError, match="could not read pip's configuration"):
        made(env)


def test_links_that_are_gone_are_warned_of(env: dict[str, str], tmp_path: Path, told: Told) -> None:
    given = {**quiet_pip(env), "PIP_FIND_LINKS": f"/nonexistent/x {tmp_path}"}
    assert made(given, told)["UV_FIND_LINKS"] == os.fspath(tmp_path)
    assert "/nonexistent/x" in told.warnings[0]


def test_the_hosts_own_environment_is_left_out(env: dict[str, str]) -> None:
    given = {
        **quiet_pip(env),
        "VIRTUAL_ENV": "/v",
        "UV_PYTHON": "3.9",
        "UV_NO_BINARY": "1",
        "UV_EXCLUDE_NEWER": "2020-01-01",
    }
    found = uv_environment(given, report=Told())
    assert not {"VIRTUAL_ENV", "UV_PYTHON", "UV_NO_BINARY"} & set(found)
    assert found["UV_EXCLUDE_NEWER"] == "2020-01-01"


def test_credentials_are_for_one_origin() -> None:
    env = {
        "UV_DEFAULT_INDEX": "https://me:s%40crt@a.invalid/simple",
        "UV_INDEX": "corp=https://token@b.invalid:8443/simple plain=https://c.invalid/simple",
        "UV_FIND_LINKS": "/srv/wheels,http://x:y@d.invalid/links",
    }
    assert credentials(env) == {
        "https://a.invalid:": ("me", "s@crt"),
        "https://b.invalid:8443": ("token", ""),
        "http://d.invalid:": ("x", "y"),
    }


def test_files_are_named_from_where_the_user_is(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wheels").mkdir()
    given = {**quiet_pip(env), "PIP_FIND_LINKS": "wheels", "PIP_CONSTRAINT": "limits.txt"}
    assert made(given) == {"UV_FIND_LINKS": f"{tmp_path}/wheels", "UV_CONSTRAINT": f"{tmp_path}/limits.txt"}
    own = {**quiet_pip(env), "UV_FIND_LINKS": "wheels,https://a.invalid/l", "UV_CONSTRAINT": "a.txt /b.txt"}
    assert made(own) == {
        "UV_FIND_LINKS": f"{tmp_path}/wheels,https://a.invalid/l",
        "UV_CONSTRAINT": f"{tmp_path}/a.txt /b.txt",
    }


def test_more_of_pips_options(env: dict[str, str]) -> None:
    assert made({**quiet_pip(env), "PIP_PRE": "1", "PIP_NO_INDEX": "yes"}) == {
        "UV_PRERELEASE": "allow",
        "UV_NO_INDEX": "1",
    }
    assert made({**quiet_pip(env), "PIP_KEYRING_PROVIDER": "import"}) == {}
    assert made({**quiet_pip(env), "PIP_PRE": "0"}) == {}


def test_whether_the_user_set_an_index(env: dict[str, str], tmp_path: Path) -> None:
    plain = quiet_pip(env)
    assert not has_own({**plain, "PIP_CERT": "/x", "UV_INDEX_STRATEGY": "first-index"})
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX"):
        assert has_own({**plain, name: "https://a.invalid/simple"}), name
    write(tmp_path / "home/.config/uv/uv.toml", '[[index]]\nurl = "https://a.invalid/s"\n')
    assert has_own(plain)


@pytest.mark.parametrize("where", ["https://e.invalid/simple/thing/", "https://e.invalid/thing-1-py3-none-any.whl"])
def test_an_index_out_of_order(where: str) -> None:
    said = f"error: Failed to fetch: `{where}`\n  cause: HTTP status server error (503 Service Unavailable) for url"
    error = explained(ResolveError("no", details=said), target="here")
    assert error.brief == "the package index is out of order: 503 Service Unavailable"
    assert "try again later" in (error.hint or "")
