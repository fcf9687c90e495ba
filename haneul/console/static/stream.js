// Reads a streamed answer: server-sent events in, pieces of the answer out.

import { errorOf } from "./api.js";

const EVENT_MAX = 4 << 20; // characters; the gateway itself sends none that is longer

/** The answer ended before its [DONE]. */
export class CutOff extends Error {}

/**
 * Yields {text}, {thought}, {finish} and {usage} as they come.
 * Throws ApiError for an error within the stream, CutOff when it just ends.
 */
export async function* pieces(response) {
  for await (const payload of payloads(response)) {
    if (payload === "[DONE]") return;
    const chunk = JSON.parse(payload);
    if (chunk.error) throw errorOf(chunk.error, 500);
    yield* ofChunk(chunk);
  }
  throw new CutOff();
}

function* ofChunk(chunk) {
  for (const choice of chunk.choices ?? []) {
    const delta = choice.delta ?? {};
    const thought = delta.reasoning_content ?? delta.reasoning;
    if (thought) yield { thought };
    if (delta.content) yield { text: delta.content };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
  if (chunk.usage) yield { usage: chunk.usage };
}

async function* payloads(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      const events = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = events.pop();
      if (rest.length > EVENT_MAX) throw new CutOff();
      for (const event of events) {
        if (event.startsWith("data:")) yield event.slice(5).trim();
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // leaving early closes the connection too
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CutOff();
  }
}
