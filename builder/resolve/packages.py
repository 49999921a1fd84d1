"""What a configuration asks for in Python packages, wherever it says so, ready to be resolved for an interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from builder.config import Config
from builder.frozen import frozen
from builder.report import Report
from builder.resolve import cuda, foreign, pyproject
from builder.resolve.graph import Graph
from builder.resolve.locked import resolve_locked
from builder.resolve.python import Resolved, resolve_python
from builder.resolve.wheelhouse import Builder
from builder.store import Store


@frozen
class Packages:
    """The requirements `text` in `folder`, or another tool's lock.

    `declared` are the project's own indexes, URL to name.
    """

    project: Path
    text: str
    folder: Path
    locked: Graph | None
    declared: Mapping[str, str]
    requires_python: str
    accelerator: str
    store: Store
    env: Mapping[str, str]
    report: Report

    @classmethod
    def of(
        cls, config: Config, *, project: Path, text: str, store: Store, env: Mapping[str, str], report: Report
    ) -> Packages:
        """What `config` asks for; `text` is what `resolve.project.resolve` calls the requirements."""
        locked: Graph | None = None
        declared: dict[str, str] = {}
        requires = ""
        folder = (project / config.python_requirements).parent if config.python_requirements else project
        if config.python_project:
            files = pyproject.loads(text)
            document = pyproject.table(files)
            declared = {url: name for name, url, _ in pyproject.indexes(document)}
            requires = pyproject.requires_python(document)
            folder = project / files.folder
            if files.lock_name:
                locked = foreign.read(files, folder=folder)
                report.note(f"the versions and hashes of {files.lock_name} are kept")
            for other in files.others:
                report.warn(f"`{other}` does not count: there is {files.lock_name} as well")
            text = "" if locked else "".join(f"{line}\n" for line in pyproject.requirement_lines(files, report=report))
        return cls(
            project=project,
            text=text,
            folder=folder,
            locked=locked,
            declared=declared,
            requires_python=requires,
            accelerator=cuda.accelerator(config, text=text),
            store=store,
            env=env,
            report=report,
        )

    def resolve(
        self,
        python_version: str,
        *,
        platform: str,
        glibc: str,
        keep: Mapping[str, str],
        builder: Callable[[], Builder] | None = None,
    ) -> Resolved:
        """The wheels for that interpreter, those that `builder` built among them (see `resolve_python`)."""
        if self.locked is not None:
            return resolve_locked(
                self.locked,
                project=self.project,
                declared=self.declared,
                python_version=python_version,
                platform=platform,
                glibc=glibc,
                store=self.store,
                env=self.env,
                report=self.report,
                builder=builder,
            )
        return resolve_python(
            self.text,
            project=self.project,
            python_version=python_version,
            platform=platform,
            glibc=glibc,
            keep=keep,
            folder=self.folder,
            accelerator=self.accelerator,
            builder=builder,
            store=self.store,
            env=self.env,
            report=self.report,
        )
