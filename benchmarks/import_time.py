"""What it costs to import modelwrap, beside OpenAI's own client."""

from __future__ import annotations

import sys

from measure import medians, report


def main() -> int:
    taken = medians({"import openai": "import openai", "import modelwrap": "import modelwrap"})
    return report(taken, base="import openai", most={"import modelwrap": 0.1})


if __name__ == "__main__":
    sys.exit(main())
