import hashlib
import hmac

from cog import BaseRunner, Input, Secret


class Runner(BaseRunner):
    def run(
        self,
        message: str = Input(description="What is signed"),
        key: Secret = Input(description="The key; no log and no answer ever shows it"),
    ) -> str:
        print(f"signing with {key}")  # shows stars
        return hmac.new(key.get_secret_value().encode(), message.encode(), hashlib.sha256).hexdigest()
