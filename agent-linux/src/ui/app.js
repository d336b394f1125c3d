// The page of Reeve: services, nodes and the key/value store, over the public API only.
"use strict";

const view = document.getElementById("main");
const statusLine = document.getElementById("status");
const tokenField = document.getElementById("token");
const RANK = { passing: 0, warning: 1, critical: 2 };
const WAIT = "60s";
let turn = null;

// Makes an element; strings become text, never markup.
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function table(heads, rows) {
  if (rows.length === 0) return el("p", {}, "Nothing here.");
  return el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))));
}

function tell(text, isError) {
  statusLine.textContent = text;
  statusLine.className = isError ? "error" : "";
}

function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { "X-Consul-Token": token } : {};
}

async function call(path, options) {
  const answer = await fetch("/v1/" + path, { headers: headers(), ...options });
  if (!answer.ok && answer.status !== 404) throw new Error(await answer.text() || answer.statusText);
  return answer;
}

// Reads a path, shows it, and shows it again whenever it changes, until the page moves on.
async function follow(path, show) {
  if (turn) turn.abort();
  const mine = turn = new AbortController();
  let index = 0;
  let pause = 1;
  while (!mine.signal.aborted) {
    try {
      const query = (path.includes("?") ? "&" : "?") + "index=" + index + "&wait=" + WAIT;
      const answer = await call(path + query, { signal: mine.signal });
      const now = Number(answer.headers.get("X-Consul-Index")) || 1;
      const value = answer.status === 404 ? null : await answer.json();
      if (mine.signal.aborted) return;
      if (now !== index) await show(value);
      index = now < index ? 0 : now;
      pause = 1;
      tell("");
    } catch (error) {
      if (mine.signal.aborted) return;
      tell(error.message, true);
      await new Promise((done) => setTimeout(done, pause * 1000));
      pause = Math.min(pause * 2, 30);
      index = 0;
    }
  }
}

function put(...children) {
  view.replaceChildren(...children.flat());
}

function worst(checks) {
  return checks.reduce((sum, check) =>
    RANK[check.Status] > RANK[sum] ? check.Status : sum, "passing");
}

function word(status) {
  return el("span", { class: status }, status);
}

function summary(checks) {
  const count = { passing: 0, warning: 0, critical: 0 };
  for (const check of checks) count[check.Status] += 1;
  const parts = Object.keys(count).filter((status) => count[status] > 0);
  if (parts.length === 0) return "no checks";
  return parts.flatMap((status, at) =>
    [at ? ", " : "", el("span", { class: status }, count[status] + " " + status)]);
}

function tags(list) {
  return (list || []).map((tag) => el("span", { class: "tag" }, tag));
}

function link(section, name, text) {
  return el("a", { href: "#/" + section + "/" + encodeURIComponent(name) }, text || name);
}

function checkTable(checks) {
  return table(["Check", "Status", "Output"], checks.map((check) =>
    [check.Name || check.CheckID, word(check.Status), el("pre", {}, check.Output || "")]));
}

function services() {
  return follow("health/state/any", async (checks) => {
    const names = await (await call("catalog/services")).json();
    const rows = Object.keys(names).sort().map((name) =>
      [link("services", name), tags(names[name]),
        summary(checks.filter((check) => check.ServiceName === name))]);
    put(el("h2", {}, "Services"), table(["Name", "Tags", "Checks"], rows));
  });
}

function service(name) {
  return follow("health/service/" + encodeURIComponent(name), (instances) => {
    put(el("h2", {}, name), instances.length === 0 ? el("p", {}, "No instances.") :
      instances.map(({ Node, Service, Checks }) => el("section", {},
        el("h3", {}, Service.ID, " ", word(worst(Checks))),
        el("p", {}, link("nodes", Node.Node), " ",
          el("code", {}, (Service.Address || Node.Address) + ":" + Service.Port), " ",
          tags(Service.Tags)),
        checkTable(Checks))));
  });
}

function nodes() {
  return follow("health/state/any", async (checks) => {
    const list = await (await call("catalog/nodes")).json();
    put(el("h2", {}, "Nodes"), table(["Name", "Address", "Checks"], list.map((node) =>
      [link("nodes", node.Node), el("code", {}, node.Address),
        summary(checks.filter((check) => check.Node === node.Node))])));
  });
}

function node(name) {
  const path = encodeURIComponent(name);
  return follow("health/node/" + path, async (checks) => {
    const found = await (await call("catalog/node/" + path)).json();
    if (!found) return put(el("h2", {}, name), el("p", {}, "No such node."));
    put(el("h2", {}, name), el("p", {}, el("code", {}, found.Node.Address)),
      el("h3", {}, "Checks"), checkTable(checks),
      el("h3", {}, "Services"), table(["Instance", "Service", "Port", "Tags"],
        Object.values(found.Services).map((one) =>
          [one.ID, link("services", one.Service), String(one.Port), tags(one.Tags)])),
      el("h3", {}, "Metadata"), table(["Name", "Value"], Object.entries(found.Node.Meta || {})));
  });
}

function keyPath(key) {
  return key.split("/").map(encodeURIComponent).join("/");
}

function crumbs(key) {
  const parts = key.split("/").filter((part) => part !== "");
  const out = [el("a", { href: "#/kv/" }, "Key/Value")];
  parts.forEach((part, at) => {
    const isLast = at === parts.length - 1;
    const to = parts.slice(0, at + 1).join("/") + (isLast && !key.endsWith("/") ? "" : "/");
    out.push(" / ", el("a", { href: "#/kv/" + keyPath(to) }, part));
  });
  return el("h2", {}, out);
}

function folder(prefix) {
  return follow("kv/" + keyPath(prefix) + "?keys&separator=/", (keys) => {
    const rows = (keys || []).filter((key) => key !== prefix).map((key) =>
      [el("a", { href: "#/kv/" + keyPath(key) }, key.slice(prefix.length))]);
    const name = el("input", { id: "name", required: "", size: 30 });
    const make = el("form", { onsubmit: (event) => {
      event.preventDefault();
      location.hash = "#/kv/" + keyPath(prefix + name.value.replace(/^\/+/, ""));
    } }, el("label", { for: "name" }, "New key below " + (prefix || "the root")), name,
    el("button", {}, "Open"));
    put(crumbs(prefix), table(["Key"], rows), make);
  });
}

function decode(base64) {
  const bytes = Uint8Array.from(atob(base64 || ""), (char) => char.charCodeAt(0));
  try {
    return { bytes, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { bytes, text: null };
  }
}

function entry(key) {
  const path = "kv/" + keyPath(key);
  let shown = null;
  return follow(path, (found) => {
    const row = found ? found[0] : null;
    // Writes to other keys wake a read of an absent one: what is being typed must stay.
    const mark = row ? row.ModifyIndex : 0;
    if (mark === shown) return;
    shown = mark;
    const value = decode(row && row.Value);
    const area = el("textarea", { class: "wide", "aria-label": "Value", spellcheck: "false" });
    area.value = value.text === null ? "" : value.text;
    area.disabled = value.text === null;
    const act = async (method, body, done) => {
      try {
        const query = "?cas=" + (row ? row.ModifyIndex : 0);
        const answer = await call(path + query, { method, body });
        const applied = await answer.json();
        tell(applied ? done : "Somebody else changed it: nothing was written.", !applied);
      } catch (error) {
        tell(error.message, true);
      }
    };
    const save = (event) => {
      event.preventDefault();
      act("PUT", area.value, "Saved.");
    };
    const remove = () => confirm("Delete " + key + "?") && act("DELETE", undefined, "Deleted.");
    const facts = row ? table(["Field", "Value"], ["Flags", "LockIndex", "Session",
      "CreateIndex", "ModifyIndex"].map((field) => [field, String(row[field] ?? "")])) : "New key.";
    put(crumbs(key), el("form", { onsubmit: save }, area,
      value.text === null ? value.bytes.length + " bytes that are not text." :
        el("button", {}, "Save"),
      row ? el("button", { type: "button", onclick: remove }, "Delete") : null), facts);
  });
}

function route() {
  const [section, ...rest] = (location.hash.replace(/^#\//, "") || "services").split("/");
  const name = rest.map(decodeURIComponent).join("/");
  for (const item of document.querySelectorAll("nav a")) {
    const isHere = item.getAttribute("href").split("/")[1] === section;
    if (isHere) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  put(el("p", {}, "Loading."));
  if (section === "nodes") name ? node(name) : nodes();
  else if (section === "kv") name === "" || name.endsWith("/") ? folder(name) : entry(name);
  else name ? service(name) : services();
}

tokenField.value = sessionStorage.getItem("token") || "";
tokenField.addEventListener("change", () => {
  sessionStorage.setItem("token", tokenField.value);
  route();
});
addEventListener("hashchange", () => { route(); view.focus(); });
call("agent/self").then((answer) => answer.json()).then(({ Config }) => {
  document.getElementById("where").textContent = Config.NodeName + " in " + Config.Datacenter;
}).catch((error) => tell(error.message, true));
route();
