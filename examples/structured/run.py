from typing import Dict, List, Optional

from cog import BaseModel, BaseRunner, Input, Path


class Word(BaseModel):
    text: str
    count: int


class Report(BaseModel):
    words: List[Word]
    lengths: Dict[str, int]
    listing: Path
    longest: Optional[str] = None


class Runner(BaseRunner):
    def run(
        self,
        text: str = Input(description="The text to count", default="to be or not to be"),
        order: str = Input(description="How words are sorted", choices=["text", "count"], default="count"),
    ) -> Report:
        """An object with fields, lists, a mapping and a file."""
        words = text.lower().split()
        counted = [Word(text=word, count=words.count(word)) for word in sorted(set(words))]
        if order == "count":
            counted.sort(key=lambda word: -word.count)
        listing = Path("/tmp/listing.txt")
        listing.write_text("".join(f"{word.count} {word.text}\n" for word in counted))
        lengths = {word.text: len(word.text) for word in counted}
        longest = max(lengths, key=lambda word: (lengths[word], word), default=None)
        return Report(words=counted, lengths=lengths, longest=longest, listing=listing)
