"""From nothing imported to the first reply."""

from __future__ import annotations

import sys

from measure import medians, report
from server import running

MODELWRAP = """
import modelwrap
config = {{"config_name": "m", "model_type": "openai", "api_key": "EMPTY", "client_args": {{"base_url": "{url}"}}}}
assert modelwrap.load(config)["m"]("Hi").text == "Hello"
"""

OPENAI = """
import openai
client = openai.OpenAI(api_key="EMPTY", base_url="{url}")
reply = client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "Hi"}}])
assert reply.choices[0].message.content == "Hello"
"""

HTTPX2 = """
import httpx2
body = {{"model": "m", "messages": [{{"role": "user", "content": "Hi"}}]}}
with httpx2.Client() as client:
    assert client.post("{url}/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "Hello"
"""


def main() -> int:
    with running() as url:
        codes = {"openai": OPENAI, "modelwrap": MODELWRAP, "bare httpx2": HTTPX2}
        taken = medians({name: code.format(url=url) for name, code in codes.items()}, runs=9)
    return report(taken, base="openai", most={"modelwrap": 0.6})


if __name__ == "__main__":
    sys.exit(main())
