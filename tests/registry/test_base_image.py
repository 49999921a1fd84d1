"""`build.base_image`, from end to end: a base in an OCI layout and in a registry on loopback, built on and run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from small_registry import Server

from builder import oci
from builder.oci import PackedLayer
from builder.plan import ImageConfig
from builder.store import Store
from tests.conftest import Cogsmith

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("hello")]

YAML = 'build:\n  python_version: "3.11"\n  base_image: "{base}"\nrun: "run.py:Runner"\n'


@pytest.fixture
def base(cogsmith: Cogsmith) -> str:
    """The name of an image in the store that has the Debian base as its only layer, and settings of its own."""
    cogsmith("build", "-t", "hello", "examples/hello-world")
    with Store.open(cogsmith.cache / "cogsmith") as store:
        hello = store.image("hello")
        assert hello is not None
        debian: PackedLayer = hello.layers[0]
        config = oci.image_config(
            ImageConfig(
                env=(("PATH", "/usr/local/bin:/usr/bin:/bin"), ("BASE_SAYS", "hi")),
                entrypoint=(),
                cmd=("sh",),
                working_dir="/",
                exposed_ports=(),
                labels=(),
            ),
            platform=f"linux/{hello.config['architecture']}",
            epoch=0,
            layers=[debian],
            comments=["base"],
        )
        manifest = oci.image_manifest(config.descriptor, layers=[debian], annotations=())
        store.put(config.data)
        store.put(manifest.data)
        store.set_image("my-base:1", manifest.descriptor)
    return "my-base:1"


def write(folder: Path, *, base: str) -> Path:
    folder.mkdir()
    (folder / "cog.yaml").write_text(YAML.format(base=base))
    (folder / "run.py").write_text(
        "import os\nfrom cog import BaseRunner\n\n\nclass Runner(BaseRunner):\n"
        "    def run(self) -> str:\n        return os.environ['BASE_SAYS']\n"
    )
    return folder


def test_from_a_layout(cogsmith: Cogsmith, base: str, tmp_path: Path) -> None:
    cogsmith("image", "export", base, tmp_path / "layout")
    folder = write(tmp_path / "p", base="oci:../layout:my-base:1")
    digest = cogsmith("build", "-t", "on-layout", cwd=folder).out.strip()
    assert cogsmith("run", "on-layout", cwd=folder).out == "hi\n"
    data = json.loads(cogsmith("image", "inspect", "--json", digest).out)
    with Store.open(cogsmith.cache / "cogsmith") as store:
        below = store.image(base)
    assert below is not None
    assert data["manifest"]["layers"][0] == below.manifest["layers"][0]  # the base's blob, never rewritten
    assert data["manifest"]["annotations"]["org.opencontainers.image.base.digest"] == below.digest
    assert "Entrypoint" not in data["config"]["config"]


def test_from_a_registry(cogsmith: Cogsmith, base: str, public: Server, tmp_path: Path) -> None:
    with Store.open(cogsmith.cache / "cogsmith") as store:
        public.push(store, base, "team/base:1")
    folder = write(tmp_path / "p", base=f"{public.host}/team/base:1")
    elsewhere = Cogsmith(tmp_path / "cache")  # it has neither the base nor anything else
    inputs = elsewhere.cache / "cogsmith" / "files"
    inputs.parent.mkdir(parents=True)
    shutil.copytree(cogsmith.cache / "cogsmith" / "files", inputs, copy_function=os.link)
    first = elsewhere("build", "-t", "on-registry", cwd=folder).out
    assert elsewhere("run", "on-registry", cwd=folder).out == "hi\n"
    assert elsewhere("build", "-t", "on-registry", cwd=folder).out == first


def test_base_without_the_python(cogsmith: Cogsmith, base: str, tmp_path: Path) -> None:
    cogsmith("image", "export", base, tmp_path / "layout")
    folder = write(tmp_path / "p", base="oci:../layout:my-base:1")
    text = (folder / "cog.yaml").read_text().replace("3.11", "3.12")
    (folder / "cog.yaml").write_text(text)
    done = cogsmith("build", cwd=folder, ok=False)
    assert done.code == 4
    assert "3.12" in done.err
    assert "3.11" in done.err
    assert "hint: " in done.err


def test_base_that_is_not_there(fresh: Cogsmith, public: Server, tmp_path: Path) -> None:
    done = fresh("build", cwd=write(tmp_path / "p", base=f"{public.host}/no/such:1"), ok=False)
    assert done.code == 10
    assert "no/such" in done.err
