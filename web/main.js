// main.js - the page's frame: its rooms, the key, language, light and dark.
import { getKey, models, setKey } from "./api.js";
import { choice, el, fill, say } from "./dom.js";
import { language, languageNames, setLanguage, t } from "./text.js";
import * as chat from "./chat.js";
import * as compare from "./compare.js";
import * as dashboard from "./dashboard.js";
import * as pictures from "./pictures.js";

const rooms = { chat, pictures, compare, dashboard };
const tabs = document.getElementById("tabs"), room = document.getElementById("room"), tools = document.getElementById("tools");

const here = () => location.hash.slice(1) in rooms ? location.hash.slice(1) : "chat";

async function enter() {
  const name = here();
  fill(tabs, Object.keys(rooms).map((r) => el("a", { href: `#${r}`, role: "tab", "aria-selected": String(r === name) }, t(r))));
  try {
    await rooms[name].show(room);
  } catch (e) {
    if (e.status === 401) askKey(getKey() ? t("keyWrong") : "");
    else fill(room, el("p.bad", { role: "alert" }, e.message || t("unreachable")));
  }
}

function askKey(problem) {
  const input = el("input", { type: "password", name: "key", value: getKey(), autocomplete: "off", "aria-label": t("key"), dir: "ltr" });
  fill(room, el("form.column.key", {
    onsubmit: async (e) => {
      e.preventDefault();
      setKey(input.value);
      try {
        await models(true);
      } catch (error) {
        askKey(error.status === 401 ? t("keyWrong") : error.message);
        return;
      }
      enter();
    },
  }, el("h2", {}, t("key")), el("p", {}, t("keyHint")), problem && el("p.bad", { role: "alert" }, problem), input, el("button.primary", { type: "submit" }, t("save"))));
  input.focus();
}

function theme(value) {
  document.documentElement.dataset.theme = value;
  try { localStorage.setItem("hearth-theme", value); } catch { /* for this visit */ }
}

function frame() {
  fill(tools, el("button", { onclick: () => askKey("") }, t("key")),
    choice(languageNames, language(), (v) => { setLanguage(v); frame(); enter(); }),
    el("button", { title: t("theme"), "aria-label": t("theme"), onclick: () => {
      const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      theme(dark ? "light" : "dark");
    } }, "◐"));
  tools.querySelector("select").setAttribute("aria-label", t("language"));
}

setLanguage(language());
try {
  const kept = localStorage.getItem("hearth-theme");
  if (kept) theme(kept);
} catch { /* as the system has it */ }
addEventListener("hashchange", enter);
addEventListener("keydown", (e) => { // Alt+1 to Alt+4: the rooms
  const name = e.altKey && Object.keys(rooms)[Number(e.key) - 1];
  if (name) { e.preventDefault(); location.hash = name; }
});
addEventListener("unhandledrejection", (e) => say(e.reason && e.reason.message || t("failed"), true));
frame();
enter();
