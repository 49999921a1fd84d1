LOUDEST = 5 * 2


def louder(text: str) -> str:
    return text.upper()
