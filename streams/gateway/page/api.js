// Talking to the worker that served this page: JSON, server-sent events, and the token.

const KEY = "streams-token";
const TIMEOUT = 8000;

let token = "";
try {
  token = sessionStorage.getItem(KEY) || "";
} catch {
  // Storage may be forbidden: then the token lives as long as the page.
}

// Called when the worker wants a token, or another one, with its reason.
export const hooks = { denied: () => {} };

export const hasToken = () => token !== "";

export function useToken(text) {
  token = text.trim();
  try {
    if (token) sessionStorage.setItem(KEY, token);
    else sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

// `status` is 0 when there was no answer at all.
export class Failure extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  get away() {
    return this.status === 0 || this.status === 503 || this.status === 429;
  }
}

export const path = (...segments) => "/v1/" + segments.map(encodeURIComponent).join("/");

export async function ask(method, target, { body, query, signal, timeout = TIMEOUT } = {}) {
  const answer = await send(method, target, { body, query, signal, timeout });
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch {
    throw new Failure(0, "the answer broke off");
  }
}

async function send(method, target, { body, query, signal, timeout, accept }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (accept) headers.Accept = accept;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const given = new URLSearchParams(
    Object.entries(query || {}).filter(([, value]) => value !== null && value !== undefined),
  ).toString();
  const limits = [signal, timeout ? AbortSignal.timeout(timeout) : null].filter(Boolean);
  const controller = new AbortController();
  for (const limit of limits) {
    if (limit.aborted) controller.abort();
    limit.addEventListener("abort", () => controller.abort());
  }
  let answer;
  try {
    answer = await fetch(given ? `${target}?${given}` : target, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: controller.signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(0, "this worker does not answer");
  }
  if (answer.ok) return answer;
  throw await refusal(answer);
}

async function refusal(answer) {
  let message = `status ${answer.status}`;
  try {
    message = (await answer.json()).error.message;
  } catch {
    // Not one of ours: the status has to do.
  }
  if (answer.status === 401) hooks.denied(message);
  return new Failure(answer.status, message, Number(answer.headers.get("Retry-After")) || 0);
}

// Server-sent events, read by hand: EventSource cannot send a token.
export async function* events(target, query, signal) {
  const answer = await send("GET", target, { query, signal, accept: "text/event-stream" });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        yield data.length ? JSON.parse(data.map((line) => line.slice(5)).join("\n")) : null;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
