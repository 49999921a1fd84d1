"""A project and what others lock of it: `FILE(x)`, `URL(x)`, `HASH(x)` and `BARE(x)` are filled in."""

from __future__ import annotations

PYPROJECT = """\
[project]
name = "my-model"
version = "0.1"
requires-python = ">=3.9"
dependencies = ["top[more]>=1", "old; python_version < '3.10'"]
[project.optional-dependencies]
never = ["unwanted"]
[dependency-groups]
dev = ["unwanted"]
"""

UV = """\
version = 1
requires-python = ">=3.9"

[[package]]
name = "below"
version = "1.0"
source = { registry = "INDEX" }
wheels = [{ url = "URL(below)", hash = "HASH(below)" }]

[[package]]
name = "extra-thing"
version = "1.0"
source = { registry = "INDEX" }
wheels = [{ url = "URL(extra-thing)", hash = "HASH(extra-thing)", size = 1 }]

[[package]]
name = "my-model"
version = "0.1"
source = { virtual = "." }
dependencies = [{ name = "old", marker = "python_full_version < '3.10'" }, { name = "top", extra = ["more"] }]
[package.optional-dependencies]
never = [{ name = "unwanted" }]
[package.dev-dependencies]
dev = [{ name = "unwanted" }]

[[package]]
name = "old"
version = "1.0"
source = { registry = "INDEX" }
wheels = [{ url = "URL(old)", hash = "HASH(old)" }]

[[package]]
name = "top"
version = "1.0"
source = { registry = "INDEX" }
dependencies = [{ name = "below" }]
wheels = [{ url = "URL(top)", hash = "HASH(top)" }]
[package.optional-dependencies]
more = [{ name = "extra-thing" }]

[[package]]
name = "unwanted"
version = "1.0"
source = { registry = "INDEX" }
wheels = [{ url = "URL(unwanted)", hash = "HASH(unwanted)" }]
"""

POETRY = """\
[[package]]
name = "below"
version = "1.0"
optional = false
python-versions = ">=3.7"
groups = ["main"]
files = [{file = "FILE(below)", hash = "HASH(below)"}]

[[package]]
name = "Extra.Thing"
version = "1.0"
optional = true
python-versions = "*"
groups = ["main"]
files = [{file = "FILE(extra-thing)", hash = "HASH(extra-thing)"}]

[[package]]
name = "top"
version = "1.0"
optional = false
python-versions = "^3.8"
groups = ["main"]
files = [{file = "FILE(top)", hash = "HASH(top)"}, {file = "top-1.0.tar.gz", hash = "sha256:00"}]
[package.dependencies]
below = ">=1"
extra-thing = {version = "*", optional = true, markers = "extra == \\"more\\""}
[package.extras]
more = ["extra-thing (>=1,<3)"]

[[package]]
name = "old"
version = "1.0"
optional = false
python-versions = "*"
groups = ["main"]
markers = "python_version < \\"3.10\\""
files = [{file = "FILE(old)", hash = "HASH(old)"}]

[[package]]
name = "unwanted"
version = "1.0"
optional = false
python-versions = "*"
groups = ["dev"]
files = [{file = "FILE(unwanted)", hash = "HASH(unwanted)"}]

[metadata]
lock-version = "2.1"
"""

PDM = """\
[metadata]
groups = ["default", "dev"]
lock_version = "4.5.0"

[[package]]
name = "below"
version = "1.0"
requires_python = ">=3.7"
groups = ["default"]
files = [{file = "FILE(below)", hash = "HASH(below)"}]

[[package]]
name = "extra-thing"
version = "1.0"
groups = ["default"]
files = [{file = "FILE(extra-thing)", hash = "HASH(extra-thing)"}]

[[package]]
name = "top"
version = "1.0"
groups = ["default"]
dependencies = ["below"]
files = [{file = "FILE(top)", hash = "HASH(top)"}]

[[package]]
name = "top"
version = "1.0"
extras = ["more"]
groups = ["default"]
dependencies = ["extra-thing", "top==1.0"]
files = [{file = "FILE(top)", hash = "HASH(top)"}]

[[package]]
name = "old"
version = "1.0"
groups = ["default"]
marker = "python_version < \\"3.10\\""
files = [{file = "FILE(old)", hash = "HASH(old)"}]

[[package]]
name = "unwanted"
version = "1.0"
groups = ["dev"]
files = [{file = "FILE(unwanted)", hash = "HASH(unwanted)"}]
"""

PYLOCK = """\
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "below"
version = "1.0"
wheels = [{name = "FILE(below)", url = "URL(below)", hashes = {sha256 = "BARE(below)"}}]
[[packages]]
name = "old"
version = "1.0"
marker = "python_version < '3.10'"
wheels = [{name = "FILE(old)", url = "URL(old)", hashes = {sha256 = "BARE(old)"}}]
[[packages]]
name = "extra-thing"
version = "1.0"
wheels = [{name = "FILE(extra-thing)", url = "URL(extra-thing)", hashes = {sha256 = "BARE(extra-thing)"}}]
[[packages]]
name = "top"
version = "1.0"
wheels = [{name = "FILE(top)", url = "URL(top)", hashes = {sha256 = "BARE(top)"}}]
"""
LOCKS = [("uv.lock", UV), ("poetry.lock", POETRY), ("pdm.lock", PDM), ("pylock.toml", PYLOCK)]
