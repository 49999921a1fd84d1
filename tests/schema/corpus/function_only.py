from cog import Path, Input


def predict(text: str, n: int = 3, ratio: float = .5, flag: bool = True, *, tag: str = 'x') -> str:
    return text * n
