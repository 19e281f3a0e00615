// pictures.js - the room for pictures: the form, each step as it is drawn, from a picture, within a mask, beyond the edges, and what was made with how.
import { ask, call, events, isPicture, models, shortName } from "./api.js";
import { codeButton } from "./code.js";
import { choice, download, el, field, fill, pickFile, say } from "./dom.js";
import { maskPainter } from "./mask.js";
import { t } from "./text.js";

const form = { prompt: "", negative: "", style: "", size: "", steps: "", guidance: "", seed: "", count: "1", adapters: "", strength: "", left: "", right: "", top: "", bottom: "" };
const gallery = []; // newest first: { url, blob, body, seed, size, seconds, cost }
const chosen = new Set();
let known = [], styles = [], start, painter, running, side, stage, shelf;

const shapes = [["1:1", "1024x1024"], ["2:3", "832x1248"], ["3:2", "1248x832"], ["4:5", "896x1120"], ["5:4", "1120x896"], ["16:9", "1344x768"], ["9:16", "768x1344"],
  ["21:9", "1536x640"], ["9:21", "640x1536"]];

// The ratio of a size, as its two smallest numbers where these are small, else the nearest usual one.
function ratio(size) {
  const [w, h] = size.split("x").map(Number);
  let best = shapes[0];
  for (const s of shapes) {
    const [a, b] = s[0].split(":").map(Number), [c, d] = best[0].split(":").map(Number);
    if (Math.abs(Math.log(a / b * h / w)) < Math.abs(Math.log(c / d * h / w))) best = s;
  }
  return best[0];
}

function sizes() {
  const m = known.find((x) => x.id === form.model);
  const own = m && m.sizes && m.sizes.length ? m.sizes.map((s) => [s, `${ratio(s)} (${s})`]) : shapes.map(([r, s]) => [s, `${r} (${s})`]);
  return [["", t("byDefault")], ...own];
}

async function styled() {
  if (!form.style) return form.prompt;
  return (await ask("POST", "/v1/prompts/enhance", { prompt: form.prompt, style: form.style })).prompt;
}

// Numbers that were given, under the names of the API.
function numbers() {
  const out = {};
  for (const [from, to] of [["steps", "steps"], ["guidance", "guidance_scale"], ["seed", "seed"], ["count", "n"]])
    if (String(form[from]).trim()) out[to] = Number(form[from]);
  return out;
}

function body(prompt) {
  const out = { model: form.model, prompt, ...numbers(), response_format: "b64_json" };
  if (form.size) out.size = form.size;
  if (form.negative.trim()) out.negative_prompt = form.negative;
  const loras = form.adapters.split(",").map((x) => x.trim()).filter(Boolean).map((x) => {
    const [name, weight] = x.split(":");
    return weight === undefined ? { name } : { name, weight: Number(weight) };
  });
  if (loras.length) out.loras = loras;
  return out;
}

// An edit as a form with files; what was asked beside them stays readable in `fields`.
async function editForm(fields) {
  const f = new FormData();
  for (const [k, v] of Object.entries(fields)) f.append(k, typeof v === "object" ? JSON.stringify(v) : String(v));
  if (form.strength) f.append("strength", form.strength);
  for (const side of ["left", "right", "top", "bottom"]) if (form[side]) f.append(`expand_${side}`, form[side]);
  f.append("stream", "true");
  f.append("image", start.blob, "image.png");
  const mask = painter ? await painter.blob() : null;
  if (mask) f.append("mask", mask, "mask.png");
  return f;
}

function bytes(b64, type) {
  const raw = atob(b64), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return new Blob([out], { type });
}

async function drawPictures() {
  if (running) return;
  const stop = new AbortController();
  running = stop;
  drawSide();
  const began = performance.now();
  const views = new Map();
  const view = (index) => {
    if (!views.has(index)) {
      const v = { image: el("img", { alt: "" }), bar: el("progress", { max: 1, value: 0 }), words: el("span.facts") };
      v.node = el("figure.drawing", {}, v.image, v.bar, v.words);
      views.set(index, v);
      stage.append(v.node);
    }
    return views.get(index);
  };
  fill(stage);
  view(0);
  try {
    const asked = body(await styled());
    const sent = start ? await editForm(asked) : { ...asked, stream: true };
    const response = await call("POST", start ? "/v1/images/edits" : "/v1/images/generations", sent, stop.signal);
    for await (const event of events(response)) {
      const v = view(event.index || 0);
      if (event.type.endsWith(".partial_image")) {
        if (event.b64_json) v.image.src = `data:image/jpeg;base64,${event.b64_json}`;
        v.bar.max = event.steps;
        v.bar.value = event.step;
        v.words.textContent = `${t("step")} ${event.step} ${t("of")} ${event.steps}`;
      } else if (event.type.endsWith(".completed")) {
        const blob = bytes(event.b64_json, `image/${event.output_format}`);
        const entry = { blob, url: URL.createObjectURL(blob), body: asked, seed: event.seed, size: event.size, from: Boolean(start), seconds: (performance.now() - began) / 1000,
          cost: event.usage && event.usage.cost };
        gallery.unshift(entry);
        v.image.src = entry.url;
        v.image.alt = asked.prompt;
        v.bar.remove();
        v.words.textContent = told(entry);
        drawShelf();
      }
    }
  } catch (e) {
    if (stop.signal.aborted) say(t("stopped"));
    else {
      fill(stage, el("p.bad", { role: "alert" }, e.status === 401 ? t("keyWrong") : e.message || t("unreachable")));
    }
  }
  running = undefined;
  drawSide();
}

function told(entry) {
  const parts = [entry.size, `${t("seed")} ${entry.seed}`, `${entry.seconds.toFixed(1)} ${t("seconds")}`];
  if (entry.body.steps) parts.push(`${entry.body.steps} ${t("steps")}`);
  if (entry.cost !== undefined && entry.cost !== null) parts.push(`$${entry.cost}`);
  return parts.join(" · ");
}

async function startFrom(blob) {
  if (start) URL.revokeObjectURL(start.url);
  start = blob ? { blob, url: URL.createObjectURL(blob) } : undefined;
  painter = undefined;
  if (start) {
    try { painter = await maskPainter(start.url); } catch { say(t("failed"), true); start = undefined; }
  }
  drawSide();
}

function again(entry) {
  const b = entry.body;
  Object.assign(form, { model: b.model, prompt: b.prompt, style: "", negative: b.negative_prompt || "", size: b.size || "", steps: b.steps ?? "", guidance: b.guidance_scale ?? "",
    seed: entry.seed, count: "1", adapters: (b.loras || []).map((l) => l.weight === undefined ? l.name : `${l.name}:${l.weight}`).join(", ") });
  drawSide();
}

function drawShelf() {
  fill(shelf, el("div.row", {}, el("h2", {}, t("gallery")), el("button", {
    disabled: chosen.size < 2,
    onclick: () => {
      const dialog = el("dialog.wide", { "aria-label": t("sideBySide"), onclose: () => dialog.remove() },
        el("div.row", {}, el("span.grow"), el("button", { onclick: () => dialog.close() }, t("close"))),
        el("div.grid", {}, [...chosen].map((g) => el("figure", {}, el("img", { src: g.url, alt: g.body.prompt }), el("figcaption", {}, g.body.prompt, el("br"), told(g))))));
      document.body.append(dialog);
      dialog.showModal();
    },
  }, t("sideBySide"))), el("div.grid", {}, gallery.map((g) => el("figure", {},
    el("img", { src: g.url, alt: g.body.prompt }),
    el("figcaption", {}, el("span", { dir: "auto" }, g.body.prompt), el("br"), el("span.facts", {}, `${shortName(g.body.model)} · ${told(g)}`)),
    el("div.row", {},
      el("label", {}, el("input", { type: "checkbox", checked: chosen.has(g), onchange: (e) => { e.target.checked ? chosen.add(g) : chosen.delete(g); drawShelf(); } }), t("sideBySide")),
      el("button.small", { onclick: () => again(g) }, t("sameAgain")),
      el("button.small", { onclick: () => startFrom(g.blob) }, t("useAsStart")),
      el("button.small", { onclick: () => download(`${g.seed}.${g.blob.type.split("/")[1]}`, g.blob.type, g.blob) }, t("download")))))));
}

const text = (name, label, more) => field(label, el("input", { type: "text", name, value: form[name], oninput: (e) => { form[name] = e.target.value; }, ...more }));
const number = (name, label, min, max, step, hint) => field(label, el("input", { type: "number", name, min, max, step, value: form[name], placeholder: hint ?? t("byDefault"),
  oninput: (e) => { form[name] = e.target.value; } }));

function drawSide() {
  const usable = known.filter(isPicture);
  const m = known.find((x) => x.id === form.model) || {};
  const d = m.defaults || {};
  fill(side,
    usable.length ? field(t("model"), choice(usable.map((x) => [x.id, shortName(x.id)]), form.model, (v) => { form.model = v; form.size = ""; drawSide(); })) : el("p.bad", {}, t("noModel")),
    field(t("prompt"), el("textarea", { name: "prompt", rows: 3, dir: "auto", value: form.prompt, oninput: (e) => { form.prompt = e.target.value; },
      onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) drawPictures(); } })),
    field(t("style"), choice([["", t("noStyle")], ...styles.map((s) => [s, s])], form.style, (v) => { form.style = v; })),
    text("negative", t("negative"), { dir: "auto" }),
    field(t("shape"), choice(sizes(), form.size, (v) => { form.size = v; })),
    el("div.row", {}, number("steps", t("steps"), 1, 1000, 1, d.steps), number("guidance", t("guidance"), 0, 100, 0.1, d.guidance_scale)),
    el("div.row", {}, number("seed", t("seed"), 0, 4294967295, 1), number("count", t("count"), 1, 10, 1)),
    text("adapters", t("adapters"), { placeholder: "name:0.8, name" }),
    el("details", { open: Boolean(start) }, el("summary", {}, t("start")),
      el("div.row", {}, el("button", { onclick: async () => startFrom(await pickFile("image/png,image/jpeg,image/webp")) }, t("attach")),
        start && el("button", { onclick: () => startFrom() }, t("remove"))),
      start && [number("strength", t("strength"), 0, 1, 0.05), el("p", {}, t("mask")), painter && painter.node,
        el("p", {}, t("outpaint")), el("div.row", {}, ["left", "right", "top", "bottom"].map((s) => number(s, t(s), 0, 2048, 8, 0)))]),
    el("div.row", {},
      running ? el("button.primary", { id: "stop", onclick: () => running.abort() }, t("cancel"))
        : el("button.primary", { id: "draw", disabled: !usable.length, onclick: drawPictures }, t("draw")),
      codeButton(() => ["pictures", body(form.prompt)])));
}

export async function show(room) {
  side = el("aside");
  stage = el("section.stage", { "aria-live": "polite", "aria-label": t("pictures"),
    ondragover: (e) => e.preventDefault(), ondrop: (e) => { e.preventDefault(); const f = e.dataTransfer.files[0]; if (f && f.type.startsWith("image/")) startFrom(f); } });
  shelf = el("section");
  fill(room, el("div.chat", {}, side, el("div.column.grow", {}, stage, shelf)));
  known = await models();
  const usable = known.filter(isPicture);
  if (!usable.some((m) => m.id === form.model)) form.model = usable.length ? usable[0].id : "";
  if (!styles.length) {
    try { styles = (await ask("POST", "/v1/prompts/enhance", { prompt: "a" })).styles || []; } catch { /* no styles */ }
  }
  drawSide();
  drawShelf();
}
