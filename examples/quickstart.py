"""Ask a model that runs in this process, then show the JSON and the Python that did it."""

import sys
from pathlib import Path

import modelwrap

CONFIG = Path(__file__).parent.parent / "model_configs" / "quickstart.json"
QUESTION = "What is the capital of France?"


def main(question: str) -> None:
    models = modelwrap.load(CONFIG)
    name, model = next(iter(models.items()))
    print(f"> {question}")
    with models:
        for chunk in model.stream(question):
            print(chunk.text, end="", flush=True)
    print("\n")
    print(f"{CONFIG.relative_to(CONFIG.parent.parent)} names the model:\n")
    print(CONFIG.read_text(encoding="utf-8"))
    print("Python calls it:\n")
    print("import modelwrap")
    print(f'modelwrap.init(model_configs="{CONFIG.relative_to(CONFIG.parent.parent)}")')
    print(f'print(modelwrap.get_model("{name}")({question!r}).text)')


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or QUESTION)
