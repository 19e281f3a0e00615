// settings.js - forms of parameters over a table: what is left empty is not sent, so that the server's and the model's own defaults hold.
import { el, field } from "./dom.js";
import { t } from "./text.js";

// name, label, kind, least, most, step
export const chatSettings = [
  ["temperature", () => "temperature", "number", 0, 2, 0.05],
  ["max_tokens", () => "max_tokens", "number", 1, 1048576, 1],
  ["top_p", () => "top_p", "number", 0, 1, 0.01],
  ["top_k", () => "top_k", "number", 0, 100000, 1],
  ["min_p", () => "min_p", "number", 0, 1, 0.01],
  ["frequency_penalty", () => "frequency_penalty", "number", -2, 2, 0.1],
  ["presence_penalty", () => "presence_penalty", "number", -2, 2, 0.1],
  ["seed", () => t("seed"), "number", 0, 4294967295, 1],
  ["stop", () => "stop", "text"],
  ["reasoning_effort", () => t("effort"), "select", ["none", "low", "medium", "high"]],
  ["tools", () => t("tools"), "json"],
  ["schema", () => t("schema"), "json"],
];

export function settingsForm(table, values, changed) {
  return el("div.settings", {}, table.map(([name, label, kind, least, most, step]) => {
    const set = (e) => {
      values[name] = e.target.value;
      changed && changed();
    };
    const common = { value: values[name] ?? "", oninput: set, placeholder: t("byDefault"), name };
    if (kind === "select") {
      return field(label(), el("select", { onchange: set, name }, [["", t("byDefault")], ...least.map((v) => [v, v])].map(([v, text]) => {
        const o = el("option", { value: v }, text);
        o.selected = v === (values[name] ?? "");
        return o;
      })));
    }
    if (kind === "json") return field(label(), el("textarea", { ...common, rows: 2, spellcheck: "false", dir: "ltr" }));
    return field(label(), el("input", { ...common, type: kind, min: least, max: most, step }));
  }));
}

export class BadSetting extends Error {}

// The members of a request that the values stand for.
export function settingsBody(table, values) {
  const body = {};
  for (const [name, label, kind] of table) {
    const v = String(values[name] ?? "").trim();
    if (!v) continue;
    if (kind === "number") body[name] = Number(v);
    else if (kind === "json") {
      let parsed;
      try { parsed = JSON.parse(v); } catch { throw new BadSetting(`${label()} ${t("badJson")}`); }
      if (name === "schema") body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: parsed } };
      else body[name] = parsed;
    } else body[name] = v;
  }
  return body;
}
