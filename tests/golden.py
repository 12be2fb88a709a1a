"""Do two versions of the code reach the same verdict, to the last bit?

    python tests/golden.py before/verdict.json after/verdict.json

Run `make run ARGS="experiment=smoke model.threads=1 model.device=cpu"` in a clone of each. Measured times, costs,
sizes, energy and the sentences that quote them differ from run to run and are left out, and so are dates, commits and
the recommended arm, which depends on costs where no difference was shown.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEASURED = re.compile(
    r"seconds|latency|usd|memory|energy|tokens_per_second|created_at|dirty|commit|reasons|disk|break_even"
    r"|recommended_arm|provenance|pricing|policy"
)


def values(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything in a verdict that does not depend on the clock or the machine."""
    if isinstance(record, dict):
        for key, value in record.items():
            if not MEASURED.search(key):
                yield from values(value, f"{path}.{key}" if path else key)
    elif isinstance(record, list):
        for place, value in enumerate(record):
            yield from values(value, f"{path}[{place}]")
    else:
        yield path, record


def differences(before: Any, after: Any) -> list[str]:
    """Return a line for each value that two verdicts do not have in common."""
    old, new = dict(values(before)), dict(values(after))
    return [
        f"{path}: {old.get(path, 'absent')} -> {new.get(path, 'absent')}"
        for path in dict.fromkeys([*old, *new])
        if old.get(path, "absent") != new.get(path, "absent")
    ]


if __name__ == "__main__":
    found = differences(*(json.loads(Path(file).read_text()) for file in sys.argv[1:3]))
    print("\n".join(found) or "equal")
    sys.exit(bool(found))
