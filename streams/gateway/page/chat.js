// A chat in one group: binds, publishes, receives and acknowledges like any client.

import { ask, DELETED, events, path, pause } from "./api.js";
import { byId, clock, element, milliseconds, setText } from "./dom.js";

const LINES = 200;
const SLOWEST = 10000;
const WAIT = 25;

let room = null; // { queue, group, leaving: AbortController, after, sent: Map, seen: Set }

export function startChat() {
  byId("chat-queue").value = `guest-${random(3)}`;
  byId("join-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (room) leave();
    else join(byId("chat-queue").value, byId("chat-group").value);
  });
  byId("say-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("chat-text").value;
    if (room && text.trim()) {
      byId("chat-text").value = "";
      say(text);
    }
  });
}

// Not crypto.randomUUID, which pages without TLS do not have.
function random(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

async function join(queue, group) {
  byId("join").disabled = true;
  status(`Binding ${queue} to ${group} …`);
  try {
    await ask("PUT", path("groups", group, "queues", queue), { timeout: 20000 });
  } catch (error) {
    status(error.message);
    return;
  } finally {
    byId("join").disabled = false;
  }
  room = { queue, group, leaving: new AbortController(), after: 0, sent: new Map(), seen: new Set() };
  joined(true);
  status(`${queue} is bound to ${group}.`);
  byId("chat-text").focus();
  receive(room);
}

async function leave() {
  const left = room;
  room = null;
  left.leaving.abort();
  joined(false);
  status(`Unbinding ${left.queue} from ${left.group} …`);
  try {
    await ask("DELETE", path("groups", left.group, "queues", left.queue), { timeout: 20000 });
    if (!room) status(`${left.queue} is no longer bound to ${left.group}.`);
  } catch (error) {
    if (!room) status(`${left.queue} may still be bound to ${left.group}: ${error.message}`);
  }
}

// A deletion ends the queue's bindings a step later: one that is made before would end, too.
async function unbound(queue) {
  byId("join").disabled = true;
  status(`${queue} was deleted; its bindings end …`);
  for (let bound = true; bound; ) {
    try {
      bound = (await ask("GET", path("queues", queue))).groups > 0;
    } catch (error) {
      bound = error.away;
    }
    if (bound) await pause(300);
  }
  byId("join").disabled = false;
}

function joined(yes) {
  byId("chat-queue").disabled = byId("chat-group").disabled = yes;
  byId("chat-text").disabled = byId("say").disabled = !yes;
  setText(byId("join"), yes ? "Leave" : "Join");
}

async function say(text) {
  const here = room;
  const id = random(16);
  here.sent.set(id, performance.now());
  const body = { id, sender: here.queue, body: text };
  for (let attempt = 0; room === here; attempt += 1) {
    try {
      // The same id each time: the message is delivered once, however often it is sent.
      const began = performance.now();
      await ask("POST", path("groups", here.group, "messages"), { body, timeout: 20000 });
      status(`Confirmed by Kafka in ${milliseconds(performance.now() - began)}.`);
      return;
    } catch (error) {
      if (!error.away) {
        status(`Not sent: ${error.message}`);
        if (!byId("chat-text").value) byId("chat-text").value = text;
        return;
      }
      status(`Not confirmed yet: ${error.message}. Retrying …`);
      await pause(Math.min(SLOWEST, 500 * 2 ** attempt), here.leaving.signal);
    }
  }
}

// By server-sent events; by long polling where they are not available.
async function receive(here) {
  const { signal } = here.leaving;
  let failures = 0;
  let pushed = true;
  while (!signal.aborted) {
    try {
      if (pushed) {
        for await (const delivery of events(path("queues", here.queue, "events"), { after: here.after }, signal)) {
          if (failures) status("Reconnected.");
          failures = 0;
          if (delivery) take(here, [delivery]);
        }
      } else {
        const { messages } = await ask("GET", path("queues", here.queue, "messages"), {
          query: { after: here.after, wait: WAIT },
          signal,
          timeout: (WAIT + 10) * 1000,
        });
        failures = 0;
        take(here, messages);
      }
      if (pushed) await pause(300, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === DELETED) {
        here.leaving.abort();
        room = null;
        joined(false);
        await unbound(here.queue);
        status(`${here.queue} was deleted, and is bound to no group. Join again.`);
        return;
      }
      if (pushed && (error.status === 404 || error.status === 406)) {
        pushed = false;
        continue;
      }
      failures += 1;
      const wait = Math.min(SLOWEST, 500 * 2 ** failures);
      status(`${error.message ?? error}; retrying in ${milliseconds(wait)}.`);
      await pause(wait, signal);
    }
  }
}

function take(here, deliveries) {
  for (const delivery of deliveries) {
    if (delivery.seq <= here.after) continue;
    here.after = delivery.seq;
    show(here, delivery);
  }
  if (deliveries.length) acknowledge(here);
}

// Shown messages are acknowledged, with one request at a time for all of them.
async function acknowledge(here) {
  if (here.acking) return;
  here.acking = true;
  let upto = 0;
  while (upto < here.after && !here.leaving.signal.aborted) {
    upto = here.after;
    try {
      await ask("POST", path("queues", here.queue, "acks"), { body: { upto } });
    } catch {
      upto = 0;
      await pause(2000, here.leaving.signal);
    }
  }
  here.acking = false;
}

function show(here, delivery) {
  const log = byId("chat-log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const mine = delivery.sender === here.queue;
  const began = here.sent.get(delivery.id);
  here.sent.delete(delivery.id);
  const facts = [clock(delivery.at)];
  if (delivery.group !== here.group) facts.push(`to ${delivery.group}`);
  if (began !== undefined) facts.push(`received after ${milliseconds(performance.now() - began)}`);
  log.append(
    element(
      "li",
      { class: mine ? "mine" : null },
      element("p", { class: "meta" }, element("b", {}, delivery.sender || "no sender"), ` ${facts.join(" · ")}`),
      element("p", { class: "body" }, delivery.body ?? "(not text)"),
    ),
  );
  while (log.children.length > LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const status = (text) => setText(byId("chat-status"), text);
