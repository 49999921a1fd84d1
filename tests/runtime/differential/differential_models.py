"""The models that both servers serve."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Model:
    """Sources; what its servers get besides."""

    run: str
    train: str = ""
    schema: bool = True
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def files(self) -> dict[str, str]:
        return {"run.py": self.run, **({"train.py": self.train} if self.train else {})}


MODELS = {
    "types": Model("""
        from cog import BaseRunner, Input
        class Runner(BaseRunner):
            def run(
                self,
                text: str = Input(description="Some text"),
                count: int = Input(default=3, ge=0, le=10),
                ratio: float = Input(default=0.5, ge=0),
                flag: bool = False,
                colour: str = Input(default="red", choices=["red", "green"]),
                size: int = Input(default=1, choices=[1, 2]),
                code: str = Input(default="aaa", regex="^a.*$", min_length=2, max_length=5),
            ) -> str:
                print("text is", text)
                values = [text, count, ratio, flag, colour, size, code]
                return "|".join(f"{type(value).__name__}={value}" for value in values)
    """),
    "shapes": Model("""
        import datetime, enum, io, sys
        from typing import Any, Dict, List, Optional, Union
        from cog import BaseRunner, Input
        class Colour(enum.Enum):
            RED = "red"
        class Runner(BaseRunner):
            def run(
                self,
                kind: str = "none",
                tags: List[str] = Input(default=["a"]),
                numbers: List[int] = Input(default=[1, 2]),
                maybe: Optional[int] = None,
                word: "str | None" = None,
                options: Dict[str, Any] = Input(default={}),
            ) -> Any:
                shapes = {
                    "none": lambda: None,
                    "inputs": lambda: [tags, numbers, maybe, word],
                    "nested": lambda: {"a": [1, {"b": None}], "c": True, "d": 1.5, "e": "\\u00e9\\U0001f600"},
                    "tuple": lambda: (1, 2),
                    "set": lambda: {7},
                    "date": lambda: datetime.datetime(2020, 1, 2, 3, 4, 5),
                    "enum": lambda: Colour.RED,
                    "big": lambda: 2**53 + 1,
                    "huge": lambda: 10**30,
                    "float": lambda: 0.1 + 0.2,
                    "nan": lambda: float("nan"),
                    "bytes": lambda: b"x",
                    "object": lambda: object(),
                    "empty": lambda: [],
                    "long": lambda: "x" * 7_000_000,
                    "stderr": lambda: sys.stderr.write("to stderr\\n") and "done",
                    "partial": lambda: print("no end", end="") or "done",
                    "return": lambda: print("10%\\r20%\\r100%") or "done",
                    "iterator": lambda: iter([1, 2]),
                }
                return shapes[kind]()
    """),
    "errors": Model("""
        import sys
        from cog import BaseRunner
        class Mine(Exception):
            pass
        class Runner(BaseRunner):
            def run(self, how: str = "value") -> str:
                print("before")
                if how == "value":
                    raise ValueError("boom")
                if how == "mine":
                    raise Mine("caf\\u00e9\\nsecond line")
                if how == "empty":
                    raise RuntimeError
                if how == "exit":
                    sys.exit(3)
                if how == "keyboard":
                    raise KeyboardInterrupt
                return "fine"
    """),
    "structure": Model("""
        from cog import BaseModel, BaseRunner
        class Inner(BaseModel):
            n: int
        class Output(BaseModel):
            text: str
            inner: Inner
        class Runner(BaseRunner):
            def run(self, text: str) -> Output:
                return Output(text=text, inner=Inner(n=len(text)))
    """),
    "generator": Model("""
        import time
        from typing import Iterator
        from cog import BaseRunner, current_scope, streaming
        class Runner(BaseRunner):
            @streaming
            def run(self, n: int = 3, fail: bool = False, pause: float = 0.0) -> Iterator[str]:
                for i in range(n):
                    print("item", i)
                    yield f"t{i}"
                    time.sleep(pause)
                if fail:
                    raise RuntimeError("mid")
    """),
    "words": Model("""
        from cog import BaseRunner, ConcatenateIterator
        class Runner(BaseRunner):
            def run(self, n: int = 3) -> ConcatenateIterator[str]:
                for i in range(n):
                    yield f"w{i} "
    """),
    "async": Model(
        """
        import asyncio
        from typing import AsyncIterator
        from cog import BaseRunner, concurrent, streaming
        class Runner(BaseRunner):
            async def setup(self) -> None:
                self.ready = "ready"
            @streaming
            @concurrent(max=2)
            async def run(self, n: int = 2, fail: bool = False, pause: float = 0.0) -> AsyncIterator[str]:
                for i in range(n):
                    await asyncio.sleep(pause)
                    yield f"{self.ready} {i}"
                if fail:
                    raise RuntimeError("late")
        """,
        environment={"COG_MAX_CONCURRENCY": "2"},
    ),
    "files": Model("""
        import io, tempfile
        from typing import Any, List
        from cog import BaseRunner, Input, Path
        class Runner(BaseRunner):
            def run(self, kind: str, file: Path = None, many: List[Path] = Input(default=[])) -> Any:
                folder = Path(tempfile.mkdtemp())
                if kind == "read":
                    return [file.read_bytes().decode(), file.suffix]
                if kind == "many":
                    return [one.read_bytes().decode() for one in many]
                if kind == "type":
                    return [isinstance(file, Path), str(file)]
                if kind == "text":
                    (folder / "a.txt").write_text("hello")
                    return Path(folder / "a.txt")
                if kind == "image":
                    (folder / "a.png").write_bytes(b"\\x89PNG")
                    return Path(folder / "a.png")
                if kind == "unknown":
                    (folder / "a.qqq").write_bytes(b"1")
                    return Path(folder / "a.qqq")
                if kind == "list":
                    for i in range(3):
                        (folder / f"{i}.txt").write_text(str(i))
                    return [Path(folder / f"{i}.txt") for i in range(3)]
                if kind == "bytesio":
                    return io.BytesIO(b"data")
                if kind == "stringio":
                    return io.StringIO("text")
                if kind == "missing":
                    return Path(folder / "missing.txt")
                if kind == "nested":
                    (folder / "a.txt").write_text("in")
                    return {"file": Path(folder / "a.txt")}
    """),
    "scope": Model("""
        from cog import BaseRunner, Secret, current_scope
        from cog import Input
        class Runner(BaseRunner):
            def run(self, secret: Secret = None, name: str = "count", mode: str = "replace", n: int = 2) -> str:
                scope = current_scope()
                for i in range(n):
                    self.record_metric(name, i if mode != "append" else [i], mode=mode)
                scope.metrics["timing.a"] = 0.5
                context = ",".join(f"{k}={v}" for k, v in sorted(scope.context.items()))
                return f"{secret} {secret.get_secret_value() if secret else None} {context}"
    """),
    "slow": Model("""
        import time
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, seconds: float = 0.0) -> str:
                print("begin")
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    time.sleep(0.01)
                return "done"
    """),
    "slow-async": Model("""
        import asyncio
        from cog import BaseRunner
        class Runner(BaseRunner):
            async def run(self, seconds: float = 0.0) -> str:
                await asyncio.sleep(seconds)
                return "done"
    """),
    "training": Model(
        """
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, text: str) -> str:
                return "run " + text
        """,
        train="""
        from cog import BaseModel, Input
        class TrainingOutput(BaseModel):
            weights: str
        def train(steps: int = Input(ge=1)) -> TrainingOutput:
            print("training", steps)
            return TrainingOutput(weights=f"w{steps}")
        """,
        arguments=("--x-mode", "train"),
    ),
    "no-schema": Model(
        """
        class Runner:
            def predict(self, text, n=1):
                return text * n
        """,
        schema=False,
    ),
    "setup-fails": Model("""
        from cog import BaseRunner
        class Runner(BaseRunner):
            def setup(self) -> None:
                print("in setup")
                raise RuntimeError("no gpu")
            def run(self, text: str) -> str:
                return text
    """),
    "unhealthy": Model("""
        from cog import BaseRunner
        class Runner(BaseRunner):
            def healthcheck(self) -> bool:
                return False
            def run(self, text: str) -> str:
                return text
    """),
    "crash": Model("""
        import os
        from cog import BaseRunner
        class Runner(BaseRunner):
            def run(self, crash: bool = False) -> str:
                if crash:
                    os._exit(1)
                return "alive"
    """),
}
