// chat.js - the room for conversations: streamed answers, thoughts, calls of tools, pictures for models that see, branches, speed and cost.
import { call, events, isPicture, models, shortName } from "./api.js";
import { codeButton } from "./code.js";
import { choice, dataUrl, download, el, field, fill, pickFile, say } from "./dom.js";
import { markdown } from "./markdown.js";
import { chatSettings, settingsBody, settingsForm } from "./settings.js";
import * as talks from "./talks.js";
import { t } from "./text.js";

let talk, attached = [], running;

function content(node) {
  if (!node.pictures || !node.pictures.length) return node.text;
  return [...(node.text ? [{ type: "text", text: node.text }] : []), ...node.pictures.map((url) => ({ type: "image_url", image_url: { url } }))];
}

function wire(node) {
  const m = { role: node.role, content: content(node) };
  if (node.calls && node.calls.length) m.tool_calls = node.calls.map((c) => ({ id: c.id, type: "function", function: { name: c.name, arguments: c.arguments } }));
  if (node.call) m.tool_call_id = node.call;
  return m;
}

// The request for an answer below `parent`.
function request(parent) {
  const messages = [];
  for (let id = parent; id !== null; id = talk.nodes[id].parent) messages.unshift(wire(talk.nodes[id]));
  if (talk.system) messages.unshift({ role: "system", content: talk.system });
  return { model: talk.model, messages, ...settingsBody(chatSettings, talk.settings) };
}

// Adds what an event brings to the node; true when there is something new to see.
export function take(node, event) {
  if (event.usage) node.usage = event.usage;
  const choice = event.choices && event.choices[0];
  if (!choice) return Boolean(event.usage);
  const delta = choice.delta || {};
  if (delta.content) node.text += delta.content;
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (thought) node.thought = (node.thought || "") + thought;
  for (const c of delta.tool_calls || []) {
    node.calls ||= [];
    const at = node.calls[c.index] ||= { id: "", name: "", arguments: "" };
    if (c.id) at.id = c.id;
    if (c.function && c.function.name) at.name += c.function.name;
    if (c.function && c.function.arguments) at.arguments += c.function.arguments;
  }
  if (choice.finish_reason) node.finish = choice.finish_reason;
  return true;
}

// Streams the answer to body into node; changed() after each event. Throws what went wrong.
export async function answer(body, node, signal, changed) {
  const began = performance.now();
  let first;
  const response = await call("POST", "/v1/chat/completions", { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  for await (const event of events(response)) {
    if (!take(node, event)) continue;
    if (first === undefined && (node.text || node.thought || node.calls)) first = performance.now();
    changed();
  }
  const now = performance.now();
  node.seconds = (now - began) / 1000;
  node.first = first === undefined ? undefined : (first - began) / 1000;
  const made = node.usage ? node.usage.completion_tokens : 0;
  if (made > 1 && first !== undefined && now > first) node.speed = (made - 1) / ((now - first) / 1000);
}

// ---- what is shown -------------------------------------------------------------------------------------------------

export function facts(node) {
  const parts = [];
  if (node.speed) parts.push(`${node.speed.toFixed(1)} ${t("tokensPerSecond")}`);
  if (node.usage) parts.push(`${node.usage.prompt_tokens} + ${node.usage.completion_tokens} ${t("tokens")}`);
  if (node.usage && node.usage.cost !== undefined) parts.push(`$${node.usage.cost}`);
  if (node.finish === "length") parts.push(t("cut"));
  if (node.finish === "stopped") parts.push(t("stopped"));
  return parts.join(" · ");
}

function callBox(id, node, c) {
  const result = el("textarea", { rows: 2, "aria-label": t("result") });
  const answered = Object.values(talk.nodes).some((n) => n.parent === id && n.call === c.id);
  return el("div.call", {}, el("strong", {}, `${t("call")} ${c.name}`), el("pre", { dir: "ltr" }, c.arguments),
    !answered && node.calls.length === 1 && node.finish && el("div.row", {}, result, el("button", {
      onclick: () => {
        const at = talks.addNode(talk, id, { role: "tool", text: result.value, call: c.id });
        generate(at);
      },
    }, t("send"))));
}

function branchBar(id) {
  const all = talks.siblings(talk, id);
  if (all.length < 2) return null;
  const at = all.indexOf(id);
  const go = (to) => () => { talks.follow(talk, all[to]); talks.keep(); draw(); };
  return el("span.branches", {}, el("button.small", { disabled: at === 0, onclick: go(at - 1), "aria-label": t("previous") }, "‹"), ` ${at + 1}/${all.length} `,
    el("button.small", { disabled: at === all.length - 1, onclick: go(at + 1), "aria-label": t("next") }, "›"));
}

function bubble(id) {
  const node = talk.nodes[id], mine = node.role === "user";
  const body = el("div.body", { dir: "auto" });
  const box = el(`article.bubble.${node.role}`, { "aria-label": mine ? t("you") : node.role === "tool" ? t("result") : shortName(node.model || "") });
  const show = () => {
    const parts = [];
    if (node.thought) {
      const d = el("details.thought", { open: !node.text && !node.finish }, el("summary", {}, t("thoughts")), el("div", { dir: "auto" }, markdown(node.thought)));
      parts.push(d);
    }
    if (node.pictures) parts.push(node.pictures.map((url) => el("img.attached", { src: url, alt: "" })));
    parts.push(node.role === "assistant" ? markdown(node.text) : el("div.plain", { dir: "auto" }, node.text));
    if (node.calls) parts.push(node.calls.filter(Boolean).map((c) => callBox(id, node, c)));
    if (node.error) parts.push(el("p.bad", { role: "alert" }, node.error));
    fill(body, parts);
    fill(foot, branchBar(id), el("span.facts", {}, facts(node)), buttons());
  };
  const buttons = () => running ? [] : [
    el("button.small", { onclick: () => navigator.clipboard.writeText(node.text).then(() => say(t("copied")), () => say(t("notCopied"), true)) }, t("copy")),
    mine && el("button.small", { onclick: () => edit(id, body) }, t("edit")),
    node.role === "assistant" && el("button.small", { onclick: () => generate(node.parent) }, t("retry")),
    node.role === "assistant" && el("button.small", { onclick: () => branchOff(id) }, t("branch")),
  ];
  const foot = el("footer");
  box.append(body, foot);
  show();
  box.update = show;
  return box;
}

// A conversation of its own that goes on from here.
function branchOff(id) {
  const from = talk, copy = talks.open();
  Object.assign(copy, { model: from.model, system: from.system, settings: { ...from.settings }, title: `${from.title} …`, nodes: {}, leaf: id });
  for (let at = id; at !== null; at = from.nodes[at].parent) copy.nodes[at] = structuredClone(from.nodes[at]);
  talk = copy;
  talks.keep();
  draw();
}

function edit(id, body) {
  const node = talk.nodes[id];
  const area = el("textarea", { rows: 4, value: node.text, "aria-label": t("message") });
  fill(body, area, el("div.row", {}, el("button.primary", {
    onclick: () => generate(talks.addNode(talk, node.parent, { role: "user", text: area.value, pictures: node.pictures })),
  }, t("send")), el("button", { onclick: () => draw() }, t("cancel"))));
  area.focus();
}

let list, form, side;

function draw() {
  fill(list, talks.path(talk).map(bubble));
  list.scrollTop = list.scrollHeight;
  drawForm();
  drawSide();
}

async function generate(parent) {
  if (running) return;
  let body;
  try { body = request(parent); } catch (e) { say(e.message, true); return; }
  const id = talks.addNode(talk, parent, { role: "assistant", text: "", model: talk.model });
  const node = talk.nodes[id], stop = new AbortController(), of = talk;
  running = stop;
  draw();
  const box = list.lastChild;
  let waiting = false;
  const update = () => { // at most once a frame
    if (waiting || !box.isConnected) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const low = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
      box.update();
      if (low) list.scrollTop = list.scrollHeight;
    });
  };
  try {
    await answer(body, node, stop.signal, update);
  } catch (e) {
    if (stop.signal.aborted) node.finish = "stopped";
    else node.error = e.status === 401 ? t("keyWrong") : e.message || t("unreachable");
  }
  running = undefined;
  if (!talks.keep()) say(t("notKept"), true);
  if (of === talk && list.isConnected) draw();
}

// ---- what is asked -------------------------------------------------------------------------------------------------

let known = [];
const sees = () => Boolean(known.find((m) => m.id === talk.model && m.supports_image_input));

async function attach(file) {
  if (!file || !file.type.startsWith("image/")) return;
  if (!sees()) { say(t("blind"), true); return; }
  attached.push(await dataUrl(file));
  drawForm();
}

function send(text) {
  if (!text.trim() && !attached.length) return;
  if (!talk.title) talk.title = text.trim().slice(0, 60);
  const id = talks.addNode(talk, talk.leaf, { role: "user", text, pictures: attached.length ? attached : undefined });
  attached = [];
  draft = "";
  generate(id);
}

let draft = "";
function drawForm() {
  const area = el("textarea", {
    rows: 3, value: draft, placeholder: t("message"), "aria-label": t("message"), name: "message",
    oninput: (e) => { draft = e.target.value; },
    onkeydown: (e) => {
      if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        send(area.value);
      }
    },
    onpaste: (e) => [...e.clipboardData.files].forEach(attach),
  });
  fill(form, attached.length > 0 && el("div.row", {}, attached.map((url, i) => el("button.thumb", {
    title: t("remove"), onclick: () => { attached.splice(i, 1); drawForm(); },
  }, el("img", { src: url, alt: t("remove") })))),
  el("div.row", {}, area, el("div.column", {},
    running ? el("button.primary", { id: "stop", onclick: () => running.abort() }, t("stop")) : el("button.primary", { id: "send", onclick: () => send(area.value) }, t("send")),
    sees() && el("button", { onclick: async () => attach(await pickFile("image/png,image/jpeg,image/webp")) }, t("attach")))));
  if (!running) area.focus({ preventScroll: true });
}

function talkList() {
  return el("details.talks", { open: true }, el("summary", {}, t("talks")),
    el("div.row", {}, el("button", { onclick: start }, t("newTalk")),
      el("button", { onclick: () => download("conversations.json", "application/json", talks.exported()) }, t("exportTalks")),
      el("button", {
        onclick: async () => {
          const file = await pickFile("application/json,.json");
          try { talks.imported(await file.text()); } catch { say(t("badFile"), true); }
          drawSide();
        },
      }, t("importTalks"))),
    el("ul", {}, talks.all().filter((x) => x.leaf !== null).map((x) => el("li", {},
      el(x === talk ? "button.link.chosen" : "button.link", { dir: "auto", onclick: () => { talk = x; draw(); } }, x.title || "…"),
      el("button.small", { "aria-label": `${t("remove")} ${x.title}`, onclick: () => { talks.remove(x); if (x === talk) start(); else drawSide(); } }, "×")))));
}

function drawSide() {
  const usable = known.filter((m) => !isPicture(m));
  fill(side,
    usable.length ? field(t("model"), choice(usable.map((m) => [m.id, shortName(m.id)]), talk.model, (v) => { talk.model = v; drawForm(); })) : el("p.bad", {}, t("noModel")),
    field(t("system"), el("textarea", { rows: 2, value: talk.system, dir: "auto", oninput: (e) => { talk.system = e.target.value; talks.keep(); } })),
    el("details", {}, el("summary", {}, t("parameters")), settingsForm(chatSettings, talk.settings, () => talks.keep())),
    codeButton(() => ["chat", request(talk.leaf !== null && talk.nodes[talk.leaf].role === "assistant" ? talk.nodes[talk.leaf].parent : talk.leaf)]),
    talkList());
}

function start() {
  const before = talk;
  talk = talks.open();
  const usable = known.filter((m) => !isPicture(m));
  talk.model = before && usable.some((m) => m.id === before.model) ? before.model : usable.length ? usable[0].id : "";
  if (before) talk.settings = { ...before.settings };
  draw();
}

export async function show(room) {
  list = el("section.messages", { "aria-label": t("chat"), "aria-live": "off", tabindex: "0",
    ondragover: (e) => e.preventDefault(), ondrop: (e) => { e.preventDefault(); [...e.dataTransfer.files].forEach(attach); } });
  form = el("section.ask");
  side = el("aside");
  fill(room, el("div.chat", {}, side, el("div.column.grow", {}, list, form)));
  known = await models();
  const usable = known.filter((m) => !isPicture(m));
  if (!talk) start();
  else {
    if (!usable.some((m) => m.id === talk.model)) talk.model = usable.length ? usable[0].id : "";
    draw();
  }
}
