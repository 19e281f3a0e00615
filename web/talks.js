// talks.js - conversations, kept in this browser. Each is a tree: a message that is edited or answered again gets a sibling, and `leaf` says which branch
// is shown.
const place = "hearth-talks";
let talks = load();

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(place) || "[]");
    return Array.isArray(kept) ? kept.filter(sound) : [];
  } catch { return []; }
}

// What comes from a file or from storage is looked at before it is used.
export function sound(talk) {
  return Boolean(talk && typeof talk === "object" && typeof talk.id === "string" && talk.nodes && typeof talk.nodes === "object"
    && Object.values(talk.nodes).every((n) => n && typeof n.role === "string" && (n.parent === null || n.parent in talk.nodes))
    && (talk.leaf === null || talk.leaf in talk.nodes) && path(talk).length <= Object.keys(talk.nodes).length);
}

const fresh = () => Math.random().toString(36).slice(2, 12);

export function all() { return talks; }

export function open() {
  const talk = { id: fresh(), title: "", system: "", settings: {}, nodes: {}, leaf: null, at: Date.now() };
  talks.unshift(talk);
  return talk;
}

// False: the browser has no room, or keeps nothing; the conversation goes on in memory.
export function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(talks.filter((x) => x.leaf !== null || x.system)));
    return true;
  } catch { return false; }
}

export function remove(talk) {
  talks = talks.filter((x) => x !== talk);
  keep();
}

export function exported() { return JSON.stringify({ hearth: "conversations", version: 1, talks }, null, 1); }

// Throws when the text is none of ours.
export function imported(text) {
  const file = JSON.parse(text);
  if (file.hearth !== "conversations" || !Array.isArray(file.talks) || !file.talks.every(sound)) throw new Error("form");
  const known = new Set(talks.map((x) => x.id));
  talks = [...file.talks.filter((x) => !known.has(x.id)), ...talks];
  keep();
}

export function addNode(talk, parent, fields) {
  const id = fresh();
  talk.nodes[id] = { ...fields, parent };
  talk.leaf = id;
  return id;
}

// From the first message to the leaf.
export function path(talk) {
  const ids = [];
  for (let id = talk.leaf; id !== null && id !== undefined && ids.length < 100000; id = talk.nodes[id].parent) ids.unshift(id);
  return ids;
}

export function siblings(talk, id) {
  return Object.keys(talk.nodes).filter((k) => talk.nodes[k].parent === talk.nodes[id].parent);
}

// Shows the branch of `id`, down to its newest leaf.
export function follow(talk, id) {
  for (;;) {
    const below = Object.keys(talk.nodes).filter((k) => talk.nodes[k].parent === id);
    if (!below.length) break;
    id = below[below.length - 1];
  }
  talk.leaf = id;
}
