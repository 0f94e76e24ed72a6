// What makes the pages live. Without it everything works, by loading a page again.
"use strict";

const EVERY = 4000; // milliseconds between two looks
const LONGEST = 16; // times as long between two looks, at most, while there is no answer

// Times in the reader's zone; the exact instant on hover.
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function ago(seconds) {
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || UNITS[3];
  return relative.format(-Math.trunc(seconds / length), unit);
}

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    element.textContent = element.hasAttribute("data-ago") ? ago((Date.now() - at) / 1000) : date.format(at);
    element.title = `${date.format(at)} · ${element.dateTime}`;
  }
}

// Parts of the page that follow what happens: marked data-live, found again by their id.
function busy(element) {
  const chosen = document.getSelection();
  return element.contains(document.activeElement) || (chosen && !chosen.isCollapsed && element.contains(chosen.anchorNode));
}

const said = new Map(); // what the server last said of each part, before the script wrote times into it

// What a part says apart from what changes at each look: how long ago something was, and the tokens of its forms.
function meant(element) {
  const copy = element.cloneNode(true);
  for (const time of copy.querySelectorAll("time[data-ago]")) time.textContent = "";
  for (const field of copy.querySelectorAll("input[name=csrf_token]")) field.removeAttribute("value");
  return copy.innerHTML;
}

function follow(fresh) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(element.id);
    if (!other || busy(element)) continue;
    const news = meant(other);
    if (said.get(element.id) === news) continue;
    const open = [...element.querySelectorAll("details[id]")].filter((item) => item.open).map((item) => item.id);
    said.set(element.id, news);
    element.replaceChildren(...other.childNodes);
    for (const id of open) element.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    localise(element);
  }
}

let vain = 0; // looks in a row that brought nothing
let next; // the look that is planned

// A page that nobody sees asks for nothing, and one whose login is over says so and asks no more.
async function look() {
  clearTimeout(next);
  if (document.hidden) return;
  const mark = document.getElementById("live");
  try {
    const page = document.querySelector("[data-from]")?.dataset.from || location.href;
    const answer = await fetch(page, { headers: { "X-Live": "1" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") {
      mark.hidden = true;
      document.getElementById("over").hidden = false;
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    follow(new DOMParser().parseFromString(await answer.text(), "text/html"));
    vain = 0;
    mark.hidden = false;
  } catch {
    vain += 1;
    mark.hidden = true;
  }
  clearTimeout(next);
  next = setTimeout(look, EVERY * Math.min(2 ** vain, LONGEST));
}

// Buttons that copy what they name.
function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  navigator.clipboard.writeText(text).then(
    () => { button.textContent = "Copied"; },
    () => { getSelection().selectAllChildren(document.getElementById(button.dataset.copy)); },
  );
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) copy(button);
  const fold = event.target.closest("button[data-fold]");
  if (fold) {
    const parts = [...document.getElementById(fold.dataset.fold).querySelectorAll("details")];
    const open = !parts.every((part) => part.open);
    for (const part of parts) part.open = open;
  }
});

// One box that ticks all others of its table, and the number of those that are ticked.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form || event.target.type !== "checkbox") return;
  const boxes = [...form.querySelectorAll("input[name=id]")];
  if (event.target.matches("[data-all]")) for (const box of boxes) box.checked = event.target.checked;
  const number = boxes.filter((box) => box.checked).length;
  for (const place of form.querySelectorAll("[data-chosen]")) place.textContent = number ? `${number} selected` : "";
});

// "/" goes to the search, as in a mail program.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select")) return;
  const search = document.querySelector("input[type=search]");
  if (search) { event.preventDefault(); search.focus(); }
});

for (const element of document.querySelectorAll("[data-live]")) said.set(element.id, meant(element));
for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
document.getElementById("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || "your zone";
localise(document);
setInterval(() => localise(document), 15000);
if (document.querySelector("[data-live]")) {
  next = setTimeout(look, EVERY);
  document.addEventListener("visibilitychange", look);
}
