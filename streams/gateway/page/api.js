// Requests to the worker that served this page: JSON, server-sent events, and the token.

const KEY = "streams-token";
const TIMEOUT = 8000;

// Status of a request that waited for a queue that was deleted.
export const DELETED = 410;

let token = "";
try {
  token = sessionStorage.getItem(KEY) || "";
} catch {
  // Storage may be disabled: the token then lives as long as the page.
}

// Called with the reason when the worker needs a token, or rejects it.
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

// `status` is 0 if there was no response.
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

// Beside this script's folder, not at the root: a reverse proxy may add a prefix to all paths.
const API = new URL("../v1/", import.meta.url).href;

export const path = (...segments) => API + segments.map(encodeURIComponent).join("/");

export async function ask(method, target, { body, query, signal, timeout = TIMEOUT } = {}) {
  const response = await send(method, target, { body, query, signal, timeout });
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new Failure(0, "the response is incomplete");
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
  let response;
  try {
    response = await fetch(given ? `${target}?${given}` : target, {
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
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  let message = `status ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not an error of Streams: report the status.
  }
  if (response.status === 401) hooks.denied(message);
  return new Failure(response.status, message, Number(response.headers.get("Retry-After")) || 0);
}

// Server-sent events, parsed here because EventSource cannot send a token.
export async function* events(target, query, signal) {
  const response = await send("GET", target, { query, signal, accept: "text/event-stream" });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n");
        if (lines.includes("event: deleted")) throw new Failure(DELETED, "the queue was deleted");
        const data = lines.filter((line) => line.startsWith("data:"));
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
