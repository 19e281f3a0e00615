// dom.js - makes elements. Text goes in as text nodes alone: nothing here, or anywhere in the playground, parses a string as HTML.

// el("button.primary", {onclick: f, title: "x"}, "text", child, [more])
export function el(what, attributes, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "open") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  put(node, children);
  return node;
}

export function put(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren();
  return put(node, ...children);
}

// A control under its label, which names it for screen readers as well.
export function field(label, control, hint) {
  return el("label.field", { title: hint }, el("span", {}, label), control);
}

export function choice(options, value, onchange) {
  return el("select", { onchange: (e) => onchange && onchange(e.target.value) },
    options.map(([v, text]) => {
      const o = el("option", { value: v }, text);
      o.selected = v === value;
      return o;
    }));
}

// Says something to everybody, also to screen readers; it goes by itself.
let timer;
export function say(text, bad) {
  const box = document.getElementById("say");
  box.textContent = text;
  box.className = bad ? "bad shown" : "shown";
  clearTimeout(timer);
  timer = setTimeout(() => { box.className = ""; }, bad ? 12000 : 4000);
}

export function download(name, type, content) {
  const url = content instanceof Blob ? URL.createObjectURL(content) : URL.createObjectURL(new Blob([content], { type }));
  const a = el("a", { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function pickFile(accept) {
  return new Promise((done) => {
    const input = el("input", { type: "file", accept, onchange: () => done(input.files[0]) });
    input.click();
  });
}

export function dataUrl(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}
