"""What the large registries do in their own way: how one logs in there, and who makes repositories.  No I/O."""

from __future__ import annotations

import re

from builder.frozen import frozen


@frozen
class Host:
    """A kind of registry; `{registry}` in its texts stands for the host, `{repository}` for the repository.

    `log_in` and `create` complete a hint.  `whole`: blobs go in one request, for it takes no chunks.
    """

    pattern: str
    log_in: str
    create: str = ""
    whole: bool = False


KNOWN = (
    Host(
        pattern=r"(?P<account>\d+)\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)",
        log_in="`aws ecr get-login-password --region {region} | cogsmith login -u AWS --password-stdin {registry}`;"
        " what it gives is good for 12 hours",
        create="`aws ecr create-repository --region {region} --repository-name {repository}`",
    ),
    Host(
        pattern=r"public\.ecr\.aws",
        log_in="`aws ecr-public get-login-password --region us-east-1"
        " | cogsmith login -u AWS --password-stdin {registry}`",
        create="`aws ecr-public create-repository`, by the name below your alias",
    ),
    Host(
        pattern=r"([a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev",
        log_in="`gcloud auth configure-docker {registry}`, or"
        " `gcloud auth print-access-token | cogsmith login -u oauth2accesstoken --password-stdin {registry}`",
        create="`gcloud artifacts repositories create NAME --repository-format docker`; NAME follows the project's",
        whole=True,
    ),
    Host(
        pattern=r"ghcr\.io",
        log_in="`cogsmith login -u NAME {registry}`, with a token that has `write:packages` (`read:packages` to read)",
    ),
    Host(
        pattern=r"(?P<name>[a-z0-9]+)\.azurecr\.(io|cn|us)",
        log_in="`az acr login -n {name} --expose-token --output tsv --query accessToken | cogsmith login"
        " -u 00000000-0000-0000-0000-000000000000 --password-stdin {registry}`",
    ),
    Host(
        pattern=r"docker\.io",
        log_in="`cogsmith login -u NAME {registry}`, with an access token that may write in the place of the password",
    ),
    Host(
        pattern=r"registry\.gitlab\.com",
        log_in="`cogsmith login -u NAME {registry}`, with a token that has `write_registry`",
        create="the path must begin with that of a project: make the project",
    ),
)


def host_of(registry: str) -> Host | None:
    """The kind of registry that a host is, if it is one of the large."""
    return next((host for host in KNOWN if re.fullmatch(host.pattern, registry)), None)


def log_in(registry: str) -> str:
    """How one logs in to a registry, to complete "log in: "."""
    host = host_of(registry)
    return _filled(host.log_in, host, registry=registry) if host else f"`cogsmith login {registry}`"


def create(registry: str, *, repository: str) -> str:
    """How one makes a repository, where pushing does not; an empty text where that is not known."""
    host = host_of(registry)
    return _filled(host.create, host, registry=registry, repository=repository) if host else ""


def _filled(text: str, host: Host, *, registry: str, repository: str = "") -> str:
    match = re.fullmatch(host.pattern, registry)
    parts = match.groupdict("") if match else {}
    return text.format(**parts, registry=registry, repository=repository)
