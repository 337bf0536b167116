"""`modelwrap explain`: the request that a prompt would send."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from modelwrap.cli import asking
from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import OK
from modelwrap.cli.printing import print_json

SUMMARY = "show the request that a prompt would send, credentials hidden"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    asking.add_arguments(parser)
    parser.add_argument("--stream", action="store_true", help="as a streamed call, which is what chat makes")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(options: argparse.Namespace) -> int:
    with Configured.of(options) as configured:
        model, words = configured.chosen(options.words)
        prompt = " ".join(words) or asking.piped_prompt()
        system = {"role": "system", "content": options.system}
        asked = [system, {"role": "user", "content": prompt}] if options.system else prompt
        explanation = model.explain(asked, stream=options.stream or None, **asking.parameters_of(options))
    if options.json:
        print_json({**asdict(explanation), "headers": dict(explanation.headers)})
    else:
        print(explanation)
    return OK
