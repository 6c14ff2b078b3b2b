// Keeps the moderators' queue up to date: the socket says that something changed, the page fetches the list.
const queue = document.querySelector("[data-queue]");
const live = document.querySelector("[data-live]");
let wait = 500;

async function refresh() {
    const answer = await fetch(queue.dataset.queue, { headers: { "HX-Request": "true" } });
    if (answer.ok) queue.innerHTML = await answer.text();
}

function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/moderation/`);
    socket.addEventListener("message", (event) => {
        if (JSON.parse(event.data).type === "ready") {
            wait = 500;
            live.textContent = "Live: new reports appear by themselves.";
        }
        refresh();
    });
    socket.addEventListener("close", (event) => {
        if (event.code === 4404) {
            live.textContent = "You are no longer a moderator.";
            return;
        }
        live.textContent = "Connection lost, trying again…";
        setTimeout(connect, wait);
        wait = Math.min(wait * 2, 30_000);
    });
}

connect();
