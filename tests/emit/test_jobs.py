"""Kubernetes, GitLab and GitHub: what is emitted is valid by their own published schemas, and says what it should."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.cli.emitting import archive
from builder.emit.files import Emitted, is_sealed
from builder.emit.kubernetes import CAPABILITIES, Job, job, resource_name
from builder.emit.pipelines import Pipeline, pipeline, variable, variables
from builder.errors import ConfigError
from emit.handed import CODE, IMAGE, folder_of, with_base

JOB = Job(
    name="r8.im/Me/My_Model",
    platform="linux/arm64",
    destinations=("registry.example:5000/me/model:1", "registry.example:5000/me/model:latest"),
    context="pvc:work/models/mine",
    bytes=5 << 30,
    version="1.2.3",
)
ODD = dataclasses.replace(
    JOB,
    context="git://example.com/me/model#refs/heads/main",
    secrets=("token", "other.id"),
    namespace="123",
    cache_repo="registry.example/cache",
    registry_secret="yes",
    labels=(("run.cog.config", '{"a": "it\'s $HOME"}\n'), ("long", "x" * 200_000)),
    kaniko_image="registry.example/kaniko@sha256:" + "a" * 64,
)


def documents(files: list[Emitted]) -> list[dict[str, Any]]:
    text = next(file.data for file in files if file.path == "job.yaml")
    assert text is not None
    assert is_sealed(text.decode())
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def valid() -> Callable[[dict[str, Any]], None]:
    """Raises unless a document is one of Kubernetes', by an old and by the newest schema, with no unknown field."""
    known = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

    def check(document: dict[str, Any]) -> None:
        for version in ("1.25", known.latest_version()):
            known.validate(document, version, strict=True)

    with pytest.raises(known.ValidationError):
        check({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"restart": 1}}}})
    return check


@pytest.mark.parametrize("spec", [JOB, ODD], ids=["claim", "git, secrets, odd names"])
def test_jobs_are_valid(spec: Job, valid: Callable[[dict[str, Any]], None]) -> None:
    (made,) = documents(job(spec))
    valid(made)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == spec.kaniko_image
    assert [a for a in container["args"] if a.startswith("--destination")] == [
        f"--destination={name}" for name in spec.destinations
    ]
    assert not {"--reproducible", "--use-new-run"} & {a.partition("=")[0] for a in container["args"]}
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": list(CAPABILITIES)}
    assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
    assert pod["automountServiceAccountToken"] is False
    assert pod["nodeSelector"]["kubernetes.io/arch"] == "arm64"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["requests"]["ephemeral-storage"] == "32Gi"


def test_contexts(valid: Callable[[dict[str, Any]], None]) -> None:
    def context_of(place: str) -> str:
        (made,) = documents(job(dataclasses.replace(JOB, context=place)))
        valid(made)
        return str(made["spec"]["template"]["spec"]["containers"][0]["args"][0])

    assert context_of("pvc:work") == context_of("pvc:work/x") == "--context=dir:///workspace"
    for place in ("s3://bucket/x.tar.gz", "gs://b/x", "https://e.example/x.tar.gz", "git://e.example/x"):
        assert context_of(place) == f"--context={place}"
    for place in ("pvc:", "pvc:UPPER", "dir:///x", "somewhere"):
        with pytest.raises(ConfigError):
            context_of(place)
    (odd,) = documents(job(ODD))
    arguments = odd["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [word for word in arguments if "--label" in word] == ['--label=run.cog.config={"a": "it\'s $HOME"}\n']
    volumes = {v["name"]: v for v in odd["spec"]["template"]["spec"]["volumes"]}
    assert volumes["build-secrets"]["secret"]["items"] == [{"key": n, "path": n} for n in ODD.secrets]
    assert volumes["registry-credentials"]["secret"]["secretName"] == "yes"
    assert odd["metadata"]["namespace"] == "123"
    assert "--secret=id=token,type=file,src=/run/build-secrets/token" in arguments


def test_a_folder_in_a_config_map(tmp_path: Path, valid: Callable[[dict[str, Any]], None]) -> None:
    files = folder_of(tmp_path, lock=with_base(IMAGE))
    packed = archive(files, epoch=1)
    assert packed == archive(files, epoch=1)
    spec = dataclasses.replace(JOB, context="configmap")
    given, made = documents(job(spec, archive=packed))
    valid(given)
    valid(made)
    data = base64.b64decode(given["binaryData"]["context.tar.gz"])
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        names = tar.getnames()
        assert {"Containerfile", "requirements.txt", "src/link", "src/empty"} <= set(names)
        assert {f"src/{name}" for name in CODE} <= set(names)
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][0] == "--context=tar:///context/context.tar.gz"
    with pytest.raises(ConfigError, match="a ConfigMap holds 1 MiB at most"):
        job(spec, archive=bytes(1 << 20))


def test_names() -> None:
    assert resource_name(JOB.name) == "build-r8-im-me-my-model"
    assert resource_name("ü") == "build"
    assert len(resource_name("x" * 300)) < 63
    assert [variable(name) for name in ("my token", "1st", "a.b-c")] == ["MY_TOKEN", "_1ST", "A_B_C"]
    # Not one that means something else there already, or that GitHub lets nobody set.
    assert [variable(name) for name in ("path", "github-token")] == ["BUILD_PATH", "BUILD_GITHUB_TOKEN"]
    assert variables(["a-b", "a.b", "a.b.2", "c"]) == {"a-b": "A_B", "a.b": "A_B_2", "a.b.2": "A_B_2_2", "c": "C"}


PLAIN = Pipeline(builder="cogsmith", install="cogsmith==1.2.3", platform="linux/amd64")
PIPELINES = [
    dataclasses.replace(PLAIN, builder=builder, **more)  # type: ignore[arg-type]
    for builder, more in itertools.product(
        ("cogsmith", "kaniko"),
        (
            {},
            {
                "destination": "registry.example:5000/me/model:1",
                "folder": "models/it's my own: one",
                "executes": True,
                "secrets": ("token", "my id: #1"),
                "install": "'cogsmith @ git+https://example.com/x # y'",
            },
        ),
    )
]


def check_schema(name: str, paths: list[Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("system", "schema"), [("gitlab", "gitlab-ci"), ("github", "github-workflows")])
def test_pipelines_are_valid(system: Any, schema: str, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    paths = []
    for number, spec in enumerate(PIPELINES):
        data = pipeline(system, spec).data
        assert data is not None
        paths.append(tmp_path / f"{number}.yml")
        paths[-1].write_bytes(data)
        assert is_sealed(data.decode())
        text = json.dumps(yaml.safe_load(data))
        assert ("cogsmith push --locked" in text) is (spec.builder == "cogsmith")
        assert ("cogsmith emit containerfile --locked" in text) is (spec.builder == "kaniko")
        named = spec.destination or ("$CI_REGISTRY_IMAGE" if system == "gitlab" else "ghcr.io/${GITHUB_REPOSITORY,,}")
        assert named in text
        assert all(variable(name) in text for name in spec.secrets)
        assert text.count(spec.install) == 1
        if system == "github":
            assert "hashFiles('" + f"{spec.folder}/".removeprefix("./").replace("'", "''") + "pylock.cog.toml')" in text
        elif spec.builder == "cogsmith":
            job = yaml.safe_load(data)
            home = job["variables"]["XDG_CACHE_HOME"].removeprefix("$CI_PROJECT_DIR/")
            assert home in job["build-image"]["cache"]["paths"]  # also for a project below the repository's folder
    done = check_schema(schema, paths)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "wrong.yml").write_text("image:\n  script: 1\n")
    assert check_schema(schema, [tmp_path / "wrong.yml"]).returncode == 1


def test_shells_understand_their_scripts() -> None:
    """Each line of a script by `sh -n`; GitHub's own expressions are no shell's."""
    for spec in PIPELINES:
        for system in ("gitlab", "github"):
            data = pipeline(system, spec).data  # type: ignore[arg-type]
            assert data is not None
            lines = scripts(yaml.safe_load(data))
            if system == "gitlab" and spec.folder != ".":
                assert ["cd", spec.folder] in [shlex.split(line) for line in lines]
            for script in lines:
                done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, check=False)
                assert done.returncode == 0, script + done.stderr


@pytest.mark.parametrize(("ref", "tag"), [("v1.2", "v1.2"), ("feature/a b", "feature-a-b"), ("v1+cu118", "v1-cu118")])
def test_a_branch_is_a_tag_on_github(ref: str, tag: str, tmp_path: Path) -> None:
    """As GitHub's runner does it: a step writes the variable into a file; a `+` is in no tag of an image."""
    data = pipeline("github", PLAIN).data
    assert data is not None
    (script,) = (line for line in scripts(yaml.safe_load(data)) if "IMAGE=" in line)
    given = {"GITHUB_REPOSITORY": "Me/Model", "GITHUB_REF_NAME": ref, "GITHUB_ENV": str(tmp_path / "env")}
    subprocess.run(["bash", "-e", "-c", script], env={**os.environ, **given}, check=True)
    assert (tmp_path / "env").read_text() == f"IMAGE=ghcr.io/me/model:{tag}\n"


def test_user_namespaces_are_allowed_where_something_runs() -> None:
    for spec in PIPELINES:
        data = pipeline("github", spec).data
        assert data is not None
        assert any("userns=0" in line for line in scripts(yaml.safe_load(data))) is spec.executes


def scripts(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["run"]] if isinstance(node.get("run"), str) else []
        own += node["script"] if isinstance(node.get("script"), list) else []
        return own + [script for value in node.values() for script in scripts(value)]
    return [script for value in node for script in scripts(value)] if isinstance(node, list) else []
