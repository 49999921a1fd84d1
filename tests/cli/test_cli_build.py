"""`cogsmith build` and `plan`: names, digests, formats, platforms, time stamps, what goes to which stream."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from small_projects import error, write_project, write_wheel

from builder import oci
from builder.plan import ImageConfig
from builder.store import Store
from tests.conftest import Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]

DEFAULT_EPOCH = 1735689600


@pytest.fixture(scope="session")
def locked(cogsmith: Cogsmith, tiny: Path, shared: Path) -> Path:
    """A locked project on a base that costs nothing, with one wheel; for amd64."""
    folder = shared / "locked-tiny"
    write_wheel(folder.with_name("locked-links"), "cs-some", "1.0")
    write_project(folder, base=f"oci:{tiny}:tiny:amd64", requirements="cs-some\n")
    env = {"UV_FIND_LINKS": str(folder.with_name("locked-links"))}
    cogsmith("lock", "--no-layers", "--platform", "linux/amd64", cwd=folder, env=env)
    return folder


@pytest.fixture
def copy(locked: Path, tmp_path: Path) -> Callable[[str], Path]:
    """That project in a folder of another name."""
    return lambda name: Path(shutil.copytree(locked, tmp_path / name))


def inspect(cogsmith: Cogsmith, reference: str) -> dict:
    return json.loads(cogsmith("image", "inspect", "--json", reference).out)


AMD64 = ("--locked", "--platform", "linux/amd64")


class TestNames:
    @pytest.mark.parametrize(
        ("folder", "name"),
        [
            ("My Model_v1.2!", "cog-my-modelv12"),
            ("cog-already", "cog-already"),
            ("a-very-long-name-of-a-project-indeed", "cog-a-very-long-name-of-a-proj"),
        ],
    )
    def test_from_the_folder(self, cogsmith: Cogsmith, copy: Callable[[str], Path], folder: str, name: str) -> None:
        done = cogsmith("build", *AMD64, "--json", cwd=copy(folder))
        assert json.loads(done.out)["name"] == f"{name}:latest"
        assert len(name) <= 30

    def test_option_over_cog_yaml_over_folder(self, cogsmith: Cogsmith, locked: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(locked, tmp_path / "folder"))
        with (folder / "cog.yaml").open("a") as file:
            file.write("image: registry.example.com/team/named:1\n")
        cogsmith("lock", "--check", "--platform", "linux/amd64", cwd=folder)  # a name is nothing to resolve
        assert "Image built as registry.example.com/team/named:1" in cogsmith("build", *AMD64, cwd=folder).err
        done = cogsmith("build", *AMD64, "-t", "given", "--json", cwd=folder)
        data = json.loads(done.out)
        assert data == {"name": "given:latest", "digest": inspect(cogsmith, "given")["digest"]}

    @pytest.mark.parametrize("name", ["UPPER", "two words", "name:", f"name@sha256:{'0' * 64}"])
    def test_that_cannot_be(self, cogsmith: Cogsmith, locked: Path, name: str) -> None:
        done = cogsmith("build", *AMD64, "-t", name, cwd=locked, ok=False)
        assert name in error(done, 3) or name.lower() in done.err
        assert "made " not in done.err  # it is said before the work


class TestStreams:
    def test_the_digest_alone_is_data(self, cogsmith: Cogsmith, locked: Path) -> None:
        done = cogsmith("build", *AMD64, "-t", "streams", cwd=locked)
        digest = inspect(cogsmith, "streams")["digest"]
        assert done.out == f"{digest}\n"
        assert "Image built as streams:latest" in done.err
        assert not {"\r", "\x1b"} & set(done.err + done.out)
        quiet = cogsmith("build", *AMD64, "-q", cwd=locked)
        assert (quiet.out, quiet.err) == (f"{digest}\n", "")

    def test_warnings_are_heard_even_when_quiet(self, cogsmith: Cogsmith, copy: Callable[[str], Path]) -> None:
        folder = copy("warned")
        with (folder / "cog.yaml").open("a") as file:
            file.write("enviroment: []\n")
        done = cogsmith("build", *AMD64, "-q", cwd=folder)
        assert done.err.startswith("warning: ")
        assert "`environment`" in done.err or '"environment"' in done.err
        assert done.out.startswith("sha256:")

    def test_from_below_the_project_and_from_above(self, cogsmith: Cogsmith, copy: Callable[[str], Path]) -> None:
        folder = copy("place")
        (folder / "cog.yaml").rename(folder / "other.yaml")
        (folder / "sub" / "deeper").mkdir(parents=True)
        error(cogsmith("build", cwd=folder, ok=False), 3)
        below = cogsmith("build", *AMD64, "-f", "other.yaml", cwd=folder / "sub" / "deeper").out
        assert cogsmith("build", *AMD64, "-f", "other.yaml", "place", cwd=folder.parent).out == below
        error(cogsmith("build", folder / "other.yaml", ok=False), 3)


class TestPlan:
    def test_table_and_json(self, cogsmith: Cogsmith, copy: Callable[[str], Path]) -> None:
        folder = copy("planned")
        (folder / "unique.txt").write_text(str(folder))
        before = cogsmith("plan", *AMD64, cwd=folder)
        assert before.err == ""
        head, *rows = before.out.splitlines()
        assert head.split() == ["#", "LAYER", "SIZE", "STATE", "DOWNLOAD", "WHY"]
        assert "to make" in rows[-2]
        assert "the project's files" in rows[-2]
        cogsmith("build", *AMD64, cwd=folder)
        after = cogsmith("plan", *AMD64, cwd=folder).out
        assert "to make" not in after
        assert after.count(" here ") == len(rows) - 1  # the last line is no layer
        data = json.loads(cogsmith("plan", *AMD64, "--json", cwd=folder).out)
        assert [layer["kind"] for layer in data["layers"]] == ["base", "wheels", "runtime", "files"]
        assert data["platform"] == "linux/amd64"
        assert data["epoch"] == DEFAULT_EPOCH
        assert all(layer["reason"] for layer in data["layers"])
        assert data["id"].startswith(after.splitlines()[-1].split()[1])

    @pytest.mark.usefixtures("hello")
    def test_of_debian(self, cogsmith: Cogsmith, locked_hello: Path) -> None:
        lines = cogsmith("plan", locked_hello).out.splitlines()
        assert [" here " in line for line in lines] == [False, *[True] * 5, False]


class TestPlatform:
    def test_another_machine_s(self, cogsmith: Cogsmith, tiny: Path, tmp_path: Path) -> None:
        """The runtime's wheels are the other machine's; nothing of them is executed here."""
        digests = set()
        for machine in ("amd64", "arm64"):
            folder = write_project(tmp_path / machine, base=f"oci:{tiny}:tiny:{machine}")
            cogsmith("build", "--platform", f"linux/{machine}", "-t", f"made-for:{machine}", cwd=folder)
            data = inspect(cogsmith, f"made-for:{machine}")
            assert (data["config"]["os"], data["config"]["architecture"]) == ("linux", machine)
            digests.add(data["digest"])
        assert len(digests) == 2
        listed = cogsmith("image", "ls").out
        assert any("made-for:arm64" in line and "linux/arm64" in line for line in listed.splitlines())

    def test_a_base_that_is_for_another(self, cogsmith: Cogsmith, tiny: Path, tmp_path: Path) -> None:
        folder = write_project(tmp_path / "p", base=f"oci:{tiny}:tiny:amd64")
        done = cogsmith("build", "--platform", "linux/arm64", cwd=folder, ok=False)
        assert "linux/amd64" in error(done)

    @pytest.mark.parametrize("platform", ["linux/riscv64", "windows/amd64", "arm64", ""])
    def test_that_is_not_known(self, cogsmith: Cogsmith, locked: Path, platform: str) -> None:
        for command in ("build", "plan", "lock"):
            done = cogsmith(command, "--platform", platform or "none", cwd=locked, ok=False)
            assert (done.code, done.out) == (2, "")
            assert "is none of linux/amd64, linux/arm64" in done.err
            if platform != "arm64":
                break  # once through all commands is enough


class TestEpoch:
    def test_bounds_every_time_and_changes_the_digest(
        self, cogsmith: Cogsmith, copy: Callable[[str], Path], tmp_path: Path
    ) -> None:
        folder = copy("dated")
        seen = {}
        for epoch in (0, 1_000_000_000, DEFAULT_EPOCH):
            env = {"SOURCE_DATE_EPOCH": str(epoch)}
            name = f"dated:{epoch}"
            seen[epoch] = cogsmith("build", *AMD64, "-q", "-t", name, cwd=folder, env=env).out.strip()
            path = tmp_path / str(epoch)
            cogsmith("image", "export", name, path)
            data = inspect(cogsmith, name)
            for layer in data["manifest"]["layers"][1:]:  # the base is taken as it is
                with tarfile.open(path / "blobs" / "sha256" / layer["digest"][7:]) as tar:
                    times = {member.mtime for member in tar}
                assert times
                assert max(times) <= epoch
            assert data["config"]["created"].startswith(
                {0: "1970-01-01T00:00:00", 10**9: "2001-09-09"}.get(epoch, "2025")
            )
        assert len(set(seen.values())) == 3
        assert cogsmith("build", *AMD64, "-q", cwd=folder).out.strip() == seen[DEFAULT_EPOCH]

    @pytest.mark.parametrize("epoch", ["tomorrow", "-1", "²", str(2**33), "9" * 5000])
    def test_that_is_none(self, cogsmith: Cogsmith, locked: Path, epoch: str) -> None:
        done = cogsmith("build", *AMD64, cwd=locked, env={"SOURCE_DATE_EPOCH": epoch}, ok=False)
        assert "SOURCE_DATE_EPOCH" in error(done, 3)


def debian_base(cogsmith: Cogsmith, folder: Path) -> str:
    """The Debian layer of `hello` as a base in a layout: the layers above it cost little in any format."""
    with Store.open(cogsmith.cache / "cogsmith") as store:
        image = store.image("hello")
        assert image is not None
        config = oci.image_config(
            ImageConfig(
                env=(("PATH", "/usr/bin:/bin"),),
                entrypoint=(),
                cmd=(),
                working_dir="/",
                exposed_ports=(),
                labels=(),
            ),
            platform=f"linux/{image.config['architecture']}",
            epoch=0,
            layers=image.layers[:1],
            comments=["Debian"],
        )
        manifest = oci.image_manifest(config.descriptor, layers=image.layers[:1], annotations=())
        store.put(config.data)
        store.put(manifest.data)
        store.set_image("debian-alone", manifest.descriptor)
    cogsmith("image", "export", "debian-alone", folder)
    return f"oci:{folder}:debian-alone"


def test_layer_format(cogsmith: Cogsmith, hello: str, containers: None, tmp_path: Path) -> None:
    """An epoch of the test's own makes trees that nothing unpacked before: they must come from these very blobs."""
    env = {"SOURCE_DATE_EPOCH": "1234567890"}
    folder = write_project(tmp_path / "p", base=debian_base(cogsmith, tmp_path / "base"))
    seen = {}
    for form, suffix in (("gzip", "+gzip"), ("plain", ""), ("zstd", "+zstd")):
        cogsmith("build", "-t", f"form:{form}", "--layer-format", form, cwd=folder, env=env)
        seen[form] = inspect(cogsmith, f"form:{form}")
        assert {one["mediaType"].rpartition("tar")[2] for one in seen[form]["manifest"]["layers"][1:]} == {suffix}
        assert seen[form]["config"]["rootfs"] == seen["gzip"]["config"]["rootfs"]  # the same trees
    assert len({one["digest"] for one in seen.values()}) == 3
    assert cogsmith("run", "form:zstd", "-i", "text=zstd").out == "zstd\n"


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["--layer-format", "bzip2"], {}, 2, "bzip2"),
        (["--backend", "embeded"], {}, 9, "embedded"),
        ([], {"COGSMITH_BACKEND": "none"}, 9, "`none`"),
        (["--taag", "x"], {}, 2, "--tag"),
        (["no-such-folder"], {}, 3, "`no-such-folder` is not a folder"),
    ],
)
def test_bad_values(
    cogsmith: Cogsmith, copy: Callable[[str], Path], arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    folder = copy("bad")
    (folder / "changed.txt").write_text("so that it is not known already")
    done = cogsmith("build", *AMD64, *arguments, cwd=folder, env=env, ok=False)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "rror: " in done.err


@pytest.mark.parametrize("text", ["debian_miror = 'x'\n", "backend = 7\n", "not toml"])
def test_settings_file_that_is_wrong(cogsmith: Cogsmith, locked: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "cogsmith").mkdir()
    (tmp_path / "cogsmith" / "config.toml").write_text(text)
    done = cogsmith("build", *AMD64, cwd=locked, env={"XDG_CONFIG_HOME": str(tmp_path)}, ok=False)
    assert "config.toml" in error(done, 3)
