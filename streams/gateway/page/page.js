// The page: its sections, the health of the cluster, and the token dialog.

import { hasToken, hooks, useToken } from "./api.js";
import { startChat } from "./chat.js";
import { pollNow, watchCluster } from "./cluster.js";
import { byId, setText } from "./dom.js";
import { startFind } from "./find.js";

const HEALTH = {
  good: "healthy",
  part: "partly ready",
  away: "no response",
  denied: "no access",
};

function say(kind, text) {
  byId("health").dataset.kind = kind;
  setText(byId("health"), HEALTH[kind]);
  byId("notice").hidden = text === "";
  setText(byId("notice"), text);
}

const dialog = byId("token-dialog");

function askForToken(reason) {
  if (dialog.open) return;
  setText(
    byId("token-reason"),
    (reason ? `${reason}. ` : "") + "Sent with each request, and kept in this tab only.",
  );
  byId("token").value = "";
  dialog.showModal();
  byId("token").focus();
}

let refusedByUser = false;
byId("sign-in").hidden = !hasToken();
hooks.denied = (reason) => {
  byId("sign-in").hidden = false;
  if (!refusedByUser) askForToken(reason);
};

byId("sign-in").addEventListener("click", () => askForToken(hasToken() ? "A token is already in use" : ""));
byId("token-form").addEventListener("submit", (event) => {
  const choice = event.submitter?.value ?? "use";
  refusedByUser = choice === "cancel";
  if (choice === "use" && byId("token").value) useToken(byId("token").value);
  if (choice === "forget") useToken("");
  byId("token").value = "";
  pollNow();
});
dialog.addEventListener("cancel", () => {
  refusedByUser = true;
});

document.addEventListener("visibilitychange", pollNow);
window.addEventListener("online", pollNow);

startFind();
startChat();
watchCluster(say);
