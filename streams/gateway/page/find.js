// The members, bindings and inbox of one group or queue, a page at a time.

import { ask, path } from "./api.js";
import { byId, clock, count, element, replace, setText } from "./dom.js";

const PAGE = 20;
let latest = 0;

export function startFind() {
  byId("find-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find(byId("find-kind").value, byId("find-id").value);
  });
  byId("find-kind").addEventListener("change", () => {
    byId("find-id").placeholder = byId("find-kind").value === "group" ? "tavern" : "ada";
  });
}

async function find(kind, id) {
  const mine = ++latest;
  byId("find-kind").value = kind;
  byId("find-id").value = id;
  setText(byId("find-status"), `Looking for ${kind} ${id} …`);
  try {
    const found = kind === "group" ? await group(id) : await queue(id);
    if (mine !== latest) return;
    replace(byId("found"), ...found);
    setText(byId("find-status"), `${kind} ${id}`);
  } catch (error) {
    if (mine !== latest) return;
    replace(byId("found"));
    setText(byId("find-status"), error.message);
  }
}

async function group(id) {
  return [await listing("Members", path("groups", id, "queues"), "queues", "queue", "No queue is bound to this group.")];
}

async function queue(id) {
  const summary = await ask("GET", path("queues", id));
  return [
    element(
      "dl",
      { class: "facts" },
      ...fact("In the inbox", count(summary.depth)),
      ...fact("Bound to", summary.groups === 1 ? "1 group" : `${count(summary.groups)} groups`),
      ...fact("Session", summary.session ?? "none"),
    ),
    await listing("Bindings", path("queues", id, "groups"), "groups", "group", "This queue is bound to no group."),
    await inbox(id),
  ];
}

const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];

// A list of ids, each a button that finds what it names.
async function listing(title, target, key, kind, none) {
  const list = element("ul", { class: "ids" });
  const more = element("button", { type: "button", class: "quiet", hidden: true }, "More");
  let after = null;
  const load = async () => {
    const page = await ask("GET", target, { query: { limit: PAGE, after } });
    list.append(
      ...page[key].map((id) =>
        element(
          "li",
          {},
          element("button", { type: "button", class: "id", title: `Find ${kind} ${id}`, onclick: () => find(kind, id) }, id),
        ),
      ),
    );
    after = page.next;
    more.hidden = after === null || after === undefined;
  };
  await load();
  more.addEventListener("click", () => guarded(load));
  const empty = list.children.length ? null : element("p", { class: "hint" }, none);
  return element("section", { class: "listing" }, element("h3", {}, title), empty, list, more);
}

async function inbox(id) {
  const list = element("ol", { class: "inbox" });
  const more = element("button", { type: "button", class: "quiet", hidden: true }, "More");
  let after = 0;
  const load = async () => {
    const { messages } = await ask("GET", path("queues", id, "messages"), { query: { limit: PAGE, after } });
    list.append(...messages.map(row));
    if (messages.length) after = messages.at(-1).seq;
    more.hidden = messages.length < PAGE;
  };
  await load();
  more.addEventListener("click", () => guarded(load));
  const empty = list.children.length ? null : element("p", { class: "hint" }, "The inbox is empty.");
  return element("section", { class: "listing" }, element("h3", {}, "Inbox, oldest first"), empty, list, more);
}

function row(message) {
  return element(
    "li",
    {},
    element("p", { class: "meta" }, `${clock(message.at)} · ${message.sender || "no sender"} → ${message.group} · ${message.kind} · seq ${message.seq}`),
    element("p", { class: "body" }, message.body ?? `${message.body_base64.length * 3 >> 2} bytes, not text`),
  );
}

async function guarded(load) {
  try {
    await load();
  } catch (error) {
    setText(byId("find-status"), error.message);
  }
}
