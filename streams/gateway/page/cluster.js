// The state of the whole cluster, polled from one of its workers every two seconds.

import { ask, path, pause } from "./api.js";
import { byId, count, duration, element, milliseconds, rate, replace, setText } from "./dom.js";
import { Plot } from "./plot.js";

const EVERY = 2000;
const SLOWEST = 10000;
// The latency covers this many responses: a single one may hold too few publishes.
const LATENCY_RESPONSES = 15;

const STATES = {
  ready: ["●", "answers reads"],
  "catching-up": ["◕", "folds what arrived meanwhile"],
  restoring: ["◑", "restores from its changelog"],
  opening: ["○", "is being opened"],
  moving: ["◌", "moving to its owner"],
  failed: ["✕", "failed, will be reopened"],
  unknown: ["?", "its owner does not answer"],
};

const PLOTS = {
  churn: new Plot("Churn, bindings/s", rate),
  messages: new Plot("Messages/s", rate),
  deliveries: new Plot("Deliveries/s", rate),
  acks: new Plot("Removed from inboxes/s", rate),
  latency: new Plot("Publish p99", milliseconds),
  depth: new Plot("Inbox depth", count),
  age: new Plot("Oldest message", duration),
  lag: new Plot("Lag, records", count),
};

let before = new Map();
let confirmed = [];
let chosen = null;
let cells = new Map();
let names = new Map();

export async function watchCluster(say) {
  replace(byId("plots"), ...Object.values(PLOTS).map((plot) => plot.node));
  replace(
    byId("legend"),
    ...Object.entries(STATES).map(([state, [sign, meaning]]) =>
      element(
        "li",
        {},
        element("span", { class: "sign", "data-state": state, "aria-hidden": "true" }, sign),
        `${state}: ${meaning}`,
      ),
    ),
  );
  let failures = 0;
  let seen = 0;
  for (;;) {
    if (document.visibilityState === "visible") {
      try {
        show(await ask("GET", path("cluster"), { query: { all: 1 } }), say);
        failures = 0;
        seen = Date.now();
      } catch (error) {
        failures += 1;
        const wait = Math.min(SLOWEST, EVERY * 2 ** Math.min(failures - 1, 4));
        if (failures > 1) for (const plot of Object.values(PLOTS)) plot.add(null);
        byId("cluster").classList.toggle("stale", true);
        const last = seen ? ` Last response ${duration((Date.now() - seen) / 1000)} ago.` : "";
        const refused = error.status === 401 || error.status === 403;
        say(
          refused ? "denied" : "away",
          refused
            ? `Access denied: ${error.message}`
            : `${sentence(error.message)}.${last} Retrying in ${duration(wait / 1000)}.`,
        );
        await Promise.race([pause(wait), again()]);
        continue;
      }
    }
    await Promise.race([pause(EVERY), again()]);
  }
}

let wake = () => {};
const again = () => new Promise((resolve) => (wake = resolve));

// Poll now: the page is visible again, or the token has changed.
export const pollNow = () => wake();

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function show(content, say) {
  byId("cluster").classList.toggle("stale", false);
  names = new Map(content.workers.map((worker, index) => [worker.url, letter(index)]));
  setText(byId("answered-by"), `${content.url} (${content.app})`);
  showWorkers(content);
  showPartitions(content.partitions);
  addFigures(content);
  const missing = content.workers.filter((worker) => !worker.answers);
  const waiting = content.partitions.filter((row) => !row.ready);
  if (missing.length) {
    say("part", `No response from ${missing.map((worker) => worker.url).join(", ")}.`);
  } else if (waiting.length) {
    say("part", `${waiting.length} of ${content.partitions.length} partitions are not ready.`);
  } else say("good", "");
}

const letter = (index) =>
  (index >= 26 ? letter(Math.floor(index / 26) - 1) : "") + String.fromCharCode(65 + (index % 26));

function showWorkers(content) {
  replace(
    byId("workers"),
    ...content.workers.map((worker) => {
      const own = content.partitions.filter((row) => row.owner === worker.url);
      const facts = worker.answers
        ? [
            `${own.length} partitions`,
            `up ${duration((content.at - worker.started_at) / 1000)}`,
            worker.failure ? `failed: ${worker.failure}` : worker.not_ready,
            worker.url === content.url ? "serves this page" : null,
          ]
        : [`${own.length} partitions`, worker.error];
      return element(
        "li",
        { "data-answers": worker.answers ? "yes" : "no" },
        element("b", { class: "letter" }, names.get(worker.url)),
        element("span", { class: "url" }, worker.url),
        element("span", { class: "facts" }, facts.filter(Boolean).join(" · ")),
      );
    }),
  );
}

function showPartitions(rows) {
  const tables = [...new Set(rows.map((row) => row.table))];
  const built = tables.every((table) => cells.has(table)) && cells.size === tables.length;
  if (!built || tables.some((t) => cells.get(t).length !== rows.filter((r) => r.table === t).length)) {
    build(tables, rows);
  }
  for (const table of tables) {
    rows.filter((row) => row.table === table).forEach((row, index) => fill(cells.get(table)[index], row));
  }
  if (chosen) describe(rows.find((row) => row.table === chosen.table && row.partition === chosen.partition));
}

function build(tables, rows) {
  cells = new Map();
  const grids = tables.map((table) => {
    const own = rows.filter((row) => row.table === table).map((row, index) => cell(row, index));
    cells.set(table, own);
    const grid = element("div", { class: "grid", role: "group", "aria-label": `Partitions of ${table}` });
    grid.append(...own.map((one) => one.node));
    grid.addEventListener("keydown", (event) => move(event, own, grid));
    return [element("h3", {}, `Table ${table}`), grid];
  });
  replace(byId("tables"), ...grids.flat());
}

function cell(row, index) {
  const parts = {
    sign: element("span", { class: "sign", "aria-hidden": "true" }),
    number: element("span", { class: "number" }, String(row.partition)),
    owner: element("span", { class: "owner" }),
    lag: element("span", { class: "lag" }),
    bar: element("span", { class: "bar" }),
  };
  const node = element(
    "button",
    { type: "button", class: "cell", tabindex: index ? "-1" : "0", "aria-pressed": "false" },
    ...Object.values(parts),
  );
  const one = { node, ...parts, row };
  node.addEventListener("click", () => choose(one));
  return one;
}

function fill(one, row) {
  one.row = row;
  const state = row.state in STATES ? row.state : "unknown";
  one.node.dataset.state = state;
  setText(one.sign, STATES[state][0]);
  setText(one.owner, names.get(row.owner) ?? "–");
  setText(one.lag, row.lag ? `+${count(row.lag)}` : "");
  const share = state === "restoring" || state === "opening" ? row.restored ?? 0 : 1;
  one.bar.hidden = state === "ready" || state === "unknown" || state === "moving";
  one.bar.style.setProperty("--share", `${Math.round(share * 100)}%`);
  one.node.setAttribute(
    "aria-label",
    `${row.table} ${row.partition}, ${row.state}, worker ${names.get(row.owner) ?? "none"}, lag ${row.lag ?? "unknown"}`,
  );
}

function choose(one) {
  for (const list of cells.values()) {
    for (const other of list) other.node.setAttribute("aria-pressed", String(other === one));
  }
  chosen = one.row;
  describe(one.row);
}

function describe(row) {
  if (!row) return;
  const facts = [
    `${row.table} ${row.partition}: ${row.state}`,
    `owner ${row.owner ?? "none"}`,
  ];
  if (row.position !== undefined) {
    facts.push(
      `at offset ${count(row.position)} of ${count(row.end)} (lag ${count(row.lag)}` +
        (row.lag_seconds >= 1 ? `, ${duration(row.lag_seconds)})` : ")"),
      `last checkpoint ${row.checkpoint_seconds === null ? "none yet" : `${milliseconds(row.checkpoint_seconds * 1000)} for ${count(row.checkpoint_rows)} rows`}`,
      `${count(row.restored_rows)} rows restored`,
      `${count(row.dead_letters)} dead letters`,
    );
  }
  setText(byId("partition"), facts.join(" · "));
}

// The Tab key stops once per grid; the arrow keys move inside it.
function move(event, own, grid) {
  const now = own.findIndex((one) => one.node === document.activeElement);
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  let next;
  if (event.key in steps) next = now + steps[event.key];
  else if (event.key === "Home") next = 0;
  else if (event.key === "End") next = own.length - 1;
  else return;
  event.preventDefault();
  if (now < 0 || next < 0 || next >= own.length) return;
  own[now].node.tabIndex = -1;
  own[next].node.tabIndex = 0;
  own[next].node.focus();
}

function addFigures(content) {
  const now = new Map();
  const sums = { churn: 0, messages: 0, deliveries: 0, acks: 0 };
  const buckets = new Map();
  let seconds = null;
  let depth = null;
  let oldest = null;
  for (const worker of content.workers) {
    const activity = worker.activity;
    if (!activity) continue;
    now.set(worker.url, { at: worker.at, started: worker.started_at, activity });
    if (activity.inbox_depth !== null) depth = (depth ?? 0) + activity.inbox_depth;
    if (activity.inbox_oldest_at !== null) oldest = Math.min(oldest ?? Infinity, activity.inbox_oldest_at);
    const last = before.get(worker.url);
    if (!last || last.started !== worker.started_at || worker.at <= last.at) continue;
    const passed = (worker.at - last.at) / 1000;
    seconds = passed;
    const grown = (name) => Math.max(0, activity[name] - last.activity[name]) / passed;
    sums.churn += grown("binds") + grown("unbinds");
    sums.messages += grown("messages");
    sums.deliveries += grown("deliveries");
    sums.acks += grown("removed");
    activity.publish_seconds.forEach(([limit, value], index) => {
      const more = value - (last.activity.publish_seconds[index]?.[1] ?? 0);
      buckets.set(limit, (buckets.get(limit) ?? 0) + more);
    });
  }
  before = now;
  const known = content.partitions.filter((row) => row.lag !== undefined);
  const whole = known.length === content.partitions.length;
  PLOTS.lag.add(whole ? known.reduce((sum, row) => sum + row.lag, 0) : null);
  PLOTS.depth.add(whole ? depth : null);
  PLOTS.age.add(oldest === null ? (depth === null ? null : 0) : Math.max(0, (content.at - oldest) / 1000));
  for (const name of Object.keys(sums)) {
    PLOTS[name].add(seconds === null ? null : sums[name]);
  }
  confirmed = [...confirmed, buckets].slice(-LATENCY_RESPONSES);
  const together = new Map();
  for (const some of confirmed) {
    for (const [limit, value] of some) together.set(limit, (together.get(limit) ?? 0) + value);
  }
  const p99 = quantile([...together.entries()], 0.99);
  PLOTS.latency.add(p99 === null ? null : p99 * 1000);
}

// A quantile of a cumulative histogram, as in Prometheus: linear between two limits.
export function quantile(buckets, share) {
  const all = buckets.length ? buckets.at(-1)[1] : 0;
  if (!all) return null;
  const rank = all * share;
  let lower = 0;
  let below = 0;
  for (const [limit, value] of buckets) {
    if (value >= rank) {
      if (limit === null) return lower;
      return lower + ((limit - lower) * (rank - below)) / Math.max(1, value - below);
    }
    lower = limit;
    below = value;
  }
  return lower;
}
