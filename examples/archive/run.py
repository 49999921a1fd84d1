import zipfile
from typing import List

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(
        self,
        files: List[Path] = Input(description="What goes into the archives"),
        parts: int = Input(description="Number of archives", ge=1, le=10, default=1),
    ) -> List[Path]:
        """Files in, files out: the archives, the files dealt out among them."""
        archives = [Path(f"/tmp/part{number}.zip") for number in range(parts)]
        for number, path in enumerate(archives):
            with zipfile.ZipFile(path, "w") as archive:
                for position, file in enumerate(files[number::parts]):
                    archive.write(file, f"{number + position * parts}-{file.name}")
        return archives
