"""Asks a cloud by an older line of Ollama's client: ollama_old.py URL KEY MODEL. Prints JSON."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import ollama


def main(url: str, key: str, model: str) -> None:
    client = ollama.Client(host=url, headers={"authorization": f"Bearer {key}"})
    messages = [{"role": "user", "content": "say it"}]
    whole = client.chat(model=model, messages=messages)
    lines = list(client.chat(model=model, messages=messages, stream=True))
    written = client.generate(model=model, prompt="say it", options={"num_predict": 1})
    vectors = client.embed(model=model, input="say it")
    try:
        client.chat(model="nothing", messages=messages)
        refused = 0
    except ollama.ResponseError as error:
        refused = error.status_code
    said = {
        "version": version("ollama"),
        "whole": whole.message.content,
        "streamed": "".join(line.message.content or "" for line in lines),
        "counts": [lines[-1].prompt_eval_count, lines[-1].eval_count],
        "written": written.response,
        "width": len(vectors.embeddings[0]),
        "listed": any(each.model.endswith(model) for each in client.list().models),
        "refused": refused,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
