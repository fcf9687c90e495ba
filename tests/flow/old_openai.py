"""Asks a cloud by whatever `openai` it imports: old_openai.py BASE_URL KEY MODEL.

Prints one JSON line of what it got; run in a process of its own, so that it can be an older major.
"""

from __future__ import annotations

import json
import sys
import time

import openai


def main(base_url: str, key: str, model: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
    first = client.responses.create(model=model, input="one", instructions="Be brief.")
    stream = client.responses.create(
        model=model, input="two", previous_response_id=first.id, stream=True
    )
    events = list(stream)
    items = client.responses.input_items.list(events[-1].response.id, order="asc").data
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    until = time.monotonic() + 60
    while batch.status not in ("completed", "failed") and time.monotonic() < until:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    result = json.loads(client.files.content(batch.output_file_id).text)
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
        gone = None
    except openai.NotFoundError as error:
        gone = error.status_code
    said = {
        "version": openai.__version__,
        "first": first.output_text,
        "last": events[-1].type,
        "second": events[-1].response.output_text,
        "items": len(items),
        "batch": batch.status,
        "result": result["response"]["body"]["choices"][0]["message"]["content"],
        "gone": gone,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
