"""The page to try a model: its script runs, in Node with a small stand-in for a browser, against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from runtime_image import PATIENCE, document, serving

BROWSER = """
"use strict";
class Node {
  constructor(name) {
    Object.assign(this, {name, children: [], listeners: {}, files: [], hidden: false, textContent: "", value: ""});
  }
  append(...nodes) { this.children.push(...nodes); }
  replaceChildren(...nodes) { this.children = nodes; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  find(wanted) {
    return [...(wanted(this) ? [this] : []), ...this.children.flatMap(n => n.find ? n.find(wanted) : [])];
  }
}
const ids = {};
globalThis.document = {getElementById: id => ids[id] ??= new Node(id), createElement: name => new Node(name)};
const [base, page] = process.argv.slice(2);
globalThis.location = {origin: base};
const real = fetch;
globalThis.fetch = (path, options) => real(new URL(path, base), options);
const pause = ms => new Promise(done => setTimeout(done, ms));
(async () => {
  (0, eval)(require("fs").readFileSync(page, "utf8"));
  while (!ids.form?.listeners.submit) await pause(10);
  const fields = ids.form.find(n => ["input", "textarea", "select"].includes(n.name));
  fields[0].value = 'it\\'s "quoted"';
  fields.filter(n => n.name === "select")[0].value = "1";
  await ids.form.listeners.input();
  await ids.form.listeners.submit({preventDefault() {}});
  if (ids.answer.textContent === "") throw new Error(ids.status.textContent);
  const texts = node => node.find(n => n.textContent).map(n => n.textContent);
  console.log(JSON.stringify({
    labels: ids.form.find(n => n.name === "label").map(n => n.children[0]), status: ids.status.textContent,
    answer: JSON.parse(ids.answer.textContent), curl: ids.curl.textContent, state: ids.state.textContent,
    media: ids.media.children.map(n => n.name), paths: texts(ids.paths), types: fields.map(n => n.type || n.name),
  }));
  process.exit(0);
})();
"""

MODEL = """
    import tempfile
    from cog import BaseRunner, Path
    class Runner(BaseRunner):
        def run(self, text: str, kind: str = "a", many: int = 1, flag: bool = False, file: Path = None) -> Path:
            path = Path(tempfile.mkdtemp()) / "o.png"
            path.write_text(f"{text} {kind} {many} {flag}")
            return path
"""


def test_the_page(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's script cannot be run")
    made = document(
        {
            "text": {"type": "string", "x-order": 0, "description": "What to say"},
            "kind": {"allOf": [{"$ref": "#/components/schemas/kind"}], "default": "a", "x-order": 1},
            "many": {"type": "integer", "default": 1, "minimum": 1, "x-order": 2},
            "flag": {"type": "boolean", "default": False, "x-order": 3},
            "file": {"type": "string", "format": "uri", "nullable": True, "default": None, "x-order": 4},
        },
        ("text",),
        kind={"type": "string", "enum": ["a", "b"]},
    )
    made["paths"] = {"/predictions": {"post": {"summary": "Predict"}}}
    with serving(tmp_path, MODEL, schema=made) as server:
        page = server.get("/docs")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.findall(r"(?:src|href)=\"(?!openapi\.json)", page.text), "nothing is loaded from anywhere"
        (script,) = re.findall(r"<script>(.*)</script>", page.text, re.DOTALL)
        (tmp_path / "page.js").write_text(script)
        (tmp_path / "browser.js").write_text(BROWSER)
        ran = subprocess.run(
            [node, tmp_path / "browser.js", server.url, tmp_path / "page.js"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        seen: dict[str, Any] = json.loads(ran.stdout)
    assert seen["labels"] == ["text ", "kind ", "many ", "flag ", "file "]
    assert seen["types"] == ["textarea", "select", "number", "checkbox", "file", "input"]
    assert seen["status"] == "200 succeeded"
    assert seen["answer"]["output"].startswith("data:image/png;base64,")
    assert seen["media"] == ["img"]
    assert seen["state"] == "READY"
    assert seen["paths"][:2] == ["POST", "/predictions"]
    assert seen["curl"].startswith(f"curl -X POST {server.url}/predictions")
    assert r"it'\''s" in seen["curl"]
