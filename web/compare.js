// compare.js - one prompt, several models or settings, beside each other, with the time and the cost of each.
import { ask, call, events, isPicture, models, shortName } from "./api.js";
import { answer, facts } from "./chat.js";
import { choice, el, field, fill, say } from "./dom.js";
import { markdown } from "./markdown.js";
import { BadSetting, chatSettings, settingsBody, settingsForm } from "./settings.js";
import { t } from "./text.js";

const pictureSettings = [
  ["steps", () => t("steps"), "number", 1, 1000, 1],
  ["guidance_scale", () => t("guidance"), "number", 0, 100, 0.1],
  ["seed", () => t("seed"), "number", 0, 4294967295, 1],
  ["style", () => t("style"), "text"],
];
let known = [], kind = "chat", prompt = "", running, columns = [], head, grid;

const usable = () => known.filter((m) => isPicture(m) === (kind === "pictures"));
const column = () => ({ model: usable().length ? usable()[0].id : "", settings: {} });

async function text(c, out, foot, signal) {
  const node = { text: "" };
  const show = () => { fill(out, node.thought && el("details", {}, el("summary", {}, t("thoughts")), markdown(node.thought)), markdown(node.text)); };
  await answer({ model: c.model, messages: [{ role: "user", content: prompt }], ...settingsBody(chatSettings, c.settings) }, node, signal, show);
  show();
  foot.textContent = `${node.seconds.toFixed(2)} ${t("seconds")} · ${facts(node)}`;
}

async function picture(c, out, foot, signal) {
  const began = performance.now();
  const body = { model: c.model, prompt, ...settingsBody(pictureSettings, c.settings), response_format: "b64_json", stream: true };
  if (body.style) {
    body.prompt = (await ask("POST", "/v1/prompts/enhance", { prompt, style: body.style })).prompt;
    delete body.style;
  }
  const image = el("img", { alt: prompt });
  fill(out, image);
  for await (const event of events(await call("POST", "/v1/images/generations", body, signal))) {
    if (event.b64_json) image.src = `data:image/${event.output_format};base64,${event.b64_json}`;
    if (!event.type.endsWith(".completed")) foot.textContent = `${t("step")} ${event.step} ${t("of")} ${event.steps}`;
    else foot.textContent = [`${((performance.now() - began) / 1000).toFixed(2)} ${t("seconds")}`, event.size, `${t("seed")} ${event.seed}`,
      event.usage && event.usage.cost !== undefined && `$${event.usage.cost}`].filter(Boolean).join(" · ");
  }
}

async function run() {
  if (!prompt.trim() || running) return;
  const stop = running = new AbortController();
  draw();
  const cells = [...grid.children];
  // One after the other: together they would measure each other.
  for (const [i, c] of columns.entries()) {
    const out = cells[i].querySelector(".out"), foot = cells[i].querySelector(".facts");
    foot.textContent = "…";
    try {
      await (kind === "chat" ? text : picture)(c, out, foot, stop.signal);
    } catch (e) {
      if (stop.signal.aborted) { foot.textContent = t("stopped"); break; }
      fill(out, el("p.bad", { role: "alert" }, e instanceof BadSetting || e.message ? e.message : t("unreachable")));
      foot.textContent = "";
    }
  }
  running = undefined;
  drawHead();
}

function drawHead() {
  fill(head, el("div.row", {},
    field(t("kind"), choice([["chat", t("chat")], ["pictures", t("pictures")]], kind, (v) => { kind = v; columns = [column(), column()]; draw(); })),
    el("label.field.grow", {}, el("span", {}, t("prompt")), el("textarea", { rows: 2, name: "prompt", dir: "auto", value: prompt, oninput: (e) => { prompt = e.target.value; } })),
    running ? el("button.primary", { id: "stop", onclick: () => running.abort() }, t("stop")) : el("button.primary", { id: "run", onclick: run }, t("run")),
    el("button", { onclick: () => { if (columns.length < 6) columns.push({ ...columns[columns.length - 1], settings: { ...columns[columns.length - 1].settings } }); else say(t("mostColumns"), true); draw(); } }, t("add"))));
}

function draw() {
  drawHead();
  fill(grid, columns.map((c, i) => el("article.bubble", { "aria-label": `${t("compare")} ${i + 1}` },
    el("div.row", {}, field(t("model"), choice(usable().map((m) => [m.id, shortName(m.id)]), c.model, (v) => { c.model = v; })),
      columns.length > 1 && el("button.small", { "aria-label": t("remove"), onclick: () => { columns.splice(i, 1); draw(); } }, "×")),
    el("details", {}, el("summary", {}, t("parameters")), settingsForm(kind === "chat" ? chatSettings : pictureSettings, c.settings)),
    el("div.out", { dir: "auto" }), el("footer", {}, el("span.facts")))));
}

export async function show(room) {
  head = el("section");
  grid = el("section.grid");
  fill(room, el("div.column", {}, head, grid));
  known = await models();
  if (!columns.length) columns = [column(), column()];
  draw();
}
