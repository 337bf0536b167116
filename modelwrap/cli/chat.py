"""`modelwrap chat`: ask a model, or talk with it."""

from __future__ import annotations

import argparse
import sys

from modelwrap.cli import asking
from modelwrap.cli.configs import Configured
from modelwrap.cli.exits import OK

SUMMARY = "ask a model; without a prompt, talk with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    asking.add_arguments(parser)
    parser.add_argument("--embedded", action="store_true", help="without a config: a small model in this process")


def run(options: argparse.Namespace) -> int:
    from modelwrap.terminal import Conversation, converse

    with Configured.of(options, offer_embedded=True) as configured:
        model, words = configured.chosen(options.words)
        conversation = Conversation(model, asking.parameters_of(options), options.system)
        prompt = " ".join(words)
        if prompt:
            conversation.ask(prompt)
        elif sys.stdin.isatty():
            converse(conversation)
        else:
            conversation.ask(asking.piped_prompt())
    return OK
