// Calls the demo of tests/gateway/test_official_clients.py with the official client and prints what it got, as JSON.
// Arguments: the demo's address, the option that takes a token, the token or nothing, a file to send.
import dns from "node:dns";
import { readFile } from "node:fs/promises";
import { Client, handle_file } from "@gradio/client";

const [address, option, token, path] = process.argv.slice(2);

// `*.localhost` is this machine (RFC 6761, section 6.3), for which the C library asks a name server.
const lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name.endsWith(".localhost") ? "127.0.0.1" : name, ...rest);

const options = { events: ["status", "data"], ...(token && { [option]: token }) };
const app = await Client.connect(address, options);
const said = { root: app.config.root };

said.greet = (await app.predict("/greet", ["Bob"])).data[0];
said.named = (await app.predict("/greet", { name: "Ann" })).data[0];

said.count = [];
for await (const message of app.submit("/count", [4])) {
  if (message.type === "data") said.count.push(message.data[0]);
}

said.progress = null;
for await (const message of app.submit("/sift", [])) {
  const progress = message.type === "status" && message.progress_data?.[0];
  if (progress && said.progress === null) {
    said.progress = [progress.progress, progress.desc];
    await app.predict("/told", []);
  }
  if (message.type === "data") said.sift = message.data[0];
}

const fetched = async (file) => {
  const answer = await fetch(file.url, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  return [answer.status, file.url, await answer.text()];
};
said.path = await fetched((await app.predict("/shout", [handle_file(path)])).data[0]);
const blob = new Blob([await readFile(path)]);
said.blob = await fetched((await app.predict("/shout", [blob])).data[0]);

const endless = app.submit("/endless", []);
for await (const message of endless) {
  if (message.type === "data") {
    await endless.cancel();
    break;
  }
}
said.cancelled = (await app.predict("/ended", [])).data[0];

try {
  await app.predict("/fails", []);
} catch (error) {
  said.error = error.message;
}
app.close();
process.stdout.write(JSON.stringify(said), () => process.exit(0));
