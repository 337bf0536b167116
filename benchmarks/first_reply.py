"""From nothing imported to the first reply, against a server on loopback."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from measure import medians, report

REPLY = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m", "choices": [{"index": 0,'
    b' "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}'
)

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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(REPLY)))
        self.end_headers()
        self.wfile.write(REPLY)

    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    codes = {"openai": OPENAI, "modelwrap": MODELWRAP, "bare httpx2": HTTPX2}
    taken = medians({name: code.format(url=url) for name, code in codes.items()}, runs=9)
    server.shutdown()
    return report(taken, base="openai", most={"modelwrap": 0.6})


if __name__ == "__main__":
    sys.exit(main())
