from . import limits

QUALITIES = ["low", "high"]
DEFAULT_QUALITY = QUALITIES[1]
STEPS = {"fast": 4, "slow": 10 * 4}
Quality = str
