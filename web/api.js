// api.js - requests to the server that this page came from: with the visitor's key, errors as one kind, streams of events as they come.
let key = read("hearth-key");

function read(name) {
  try { return sessionStorage.getItem(name) || ""; } catch { return ""; }
}

export function getKey() { return key; }

// Kept until the tab is closed, or in memory alone where the browser keeps nothing.
export function setKey(value) {
  key = value.trim();
  try { key ? sessionStorage.setItem("hearth-key", key) : sessionStorage.removeItem("hearth-key"); } catch { /* memory it is */ }
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function refusal(response) {
  const text = await response.text();
  try {
    const body = JSON.parse(text);
    const told = body.error && (body.error.message || body.error) || body.message;
    return new Refused(response.status, typeof told === "string" ? told : text);
  } catch {
    return new Refused(response.status, text.slice(0, 300) || `${response.status} ${response.statusText}`);
  }
}

// body: an object (sent as JSON), a FormData, or nothing.
export async function call(method, path, body, signal) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  const form = body instanceof FormData;
  if (body && !form) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, signal, body: body ? (form ? body : JSON.stringify(body)) : undefined });
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function ask(method, path, body, signal) {
  return (await call(method, path, body, signal)).json();
}

// The events of a stream, as objects; the one that says [DONE] ends it. A stream that stops before is an error.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refused(0, "the stream ended before its end");
    rest += value;
    let at;
    while ((at = rest.indexOf("\n\n")) >= 0) {
      const data = rest.slice(0, at).split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      rest = rest.slice(at + 2);
      if (data === "[DONE]") return;
      if (!data) continue;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(0, event.error.message || String(event.error));
      yield event;
    }
  }
}

let known;
// {data, unavailable}: asked once, and again when that is wanted.
export function modelList(again) {
  if (!known || again) known = ask("GET", "/v1/models").catch((e) => { known = undefined; throw e; });
  return known;
}
export const models = async (again) => (await modelList(again)).data;
export const isPicture = (m) => m.kind === "FLUMINA_BASE_MODEL";
export const shortName = (id) => id.split("/").pop();
