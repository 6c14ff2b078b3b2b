// A Space's page: its stage as it changes, the demo when it runs, the logs as they grow.

const root = document.querySelector("[data-space]");
let slug = root.dataset.space;
const app = document.querySelector("[data-app]");
const connection = document.querySelector("[data-connection]");
const MAX_LINES = 4000;
const ANSI = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b[@-_]/g;
const WAKING = new Set(["SLEEPING", "APP_STARTING"]);
const offsets = { run: 0, build: 0 };
let stage = root.querySelector("[data-stage-badge] [data-stage]")?.dataset.stage;
let wait = 500;
let asked = 0;
let leaving = false;

function showBadge(event) {
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.dataset.stage = event.stage;
  badge.textContent = event.label;
  root.querySelector("[data-stage-badge]").replaceChildren(badge);
}

// The frame is blank until its page is there. Another site's frame tells nothing but that it has loaded.
function showLoading() {
  const loading = app?.querySelector("[data-loading]");
  if (loading) loading.hidden = false;
  const done = () => loading?.remove();
  app?.querySelector("iframe")?.addEventListener("load", done, { once: true });
  return done;
}

async function refresh() {
  if (!app) return;
  asked += 1;
  const mine = asked;
  const answer = await fetch(app.dataset.appUrl, { headers: { "X-Requested-With": "fetch" } });
  if (answer.status === 404 || answer.status === 410) {
    location.reload();
    return;
  }
  if (!answer.ok) return;
  const page = document.createElement("template");
  page.innerHTML = await answer.text();
  if (mine !== asked) return; // a newer stage was asked about meanwhile
  // A demo that already runs is left alone: waking or falling asleep must not throw away what its visitor does.
  if (app.querySelector("[data-shown]") && page.content.querySelector("[data-shown]")) return;
  app.replaceChildren(page.content);
  showLoading();
  for (const kind of Object.keys(offsets)) offsets[kind] = 0;
  subscribe();
}

function append(event) {
  const log = document.querySelector(`pre[data-log="${event.kind}"]`);
  offsets[event.kind] = event.end;
  if (!log) return;
  const following = document.querySelector(`[data-follow="${event.kind}"]`)?.checked ?? true;
  log.append(document.createTextNode(event.text.replace(ANSI, "").replace(/\r(?!\n)/g, "\n")));
  if (log.childNodes.length > 200) {
    const lines = log.textContent.split("\n");
    log.textContent = lines.slice(-MAX_LINES).join("\n");
  }
  if (following) log.scrollTop = log.scrollHeight;
}

let socket;

function subscribe() {
  if (!document.querySelector("pre[data-log]") || socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ subscribe: "logs", ...offsets }));
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const path = slug.split("/").map(encodeURIComponent).join("/");
  socket = new WebSocket(`${scheme}://${location.host}/ws/spaces/${path}/`);
  socket.addEventListener("open", () => {
    wait = 500;
    if (connection) connection.hidden = true;
    subscribe();
  });
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "log") append(event);
    if (event.type === "moved" && !leaving) {
      ({ slug } = event);
      location.replace(location.pathname.replace(/^\/spaces\/[^/]+\/[^/]+/, `/spaces/${slug}`));
    }
    if (event.type === "deleted") location.assign(`/${slug.split("/")[0]}`);
    if (event.type === "stage") {
      showBadge(event);
      const before = stage;
      stage = event.stage;
      if (stage === before) return;
      // A demo that wakes answers in its own frame: replacing it would throw away what its visitor typed.
      const waking = WAKING.has(before) && WAKING.has(stage) && app?.querySelector("[data-shown]");
      if (!waking) refresh();
    }
  });
  socket.addEventListener("close", ({ code }) => {
    if (code === 4404) location.reload();
    if (code >= 4400) return;
    if (connection) {
      connection.hidden = false;
      connection.textContent = "The connection was lost. Trying again …";
    }
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 15000);
  });
}

document.addEventListener("submit", () => {
  leaving = true;
});
// The first frame may have loaded before this ran; the page's own load event comes after those of its frames.
if (document.readyState !== "complete") {
  addEventListener("load", showLoading(), { once: true });
}
connect();
