"use strict";
// The page can be read without this: it sorts, filters and points. Texts are only ever set as text.

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function sort(head) {
    const column = heads.indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    const keys = new Map();
    for (const row of body.rows) {
      const cell = row.cells[column];
      const text = cell.dataset.value ?? cell.textContent;
      keys.set(row, head.dataset.sort === "number" ? Number(text) : text);
    }
    const compare = head.dataset.sort === "number" ? (a, b) => a - b : collator.compare;
    const rows = [...body.rows].sort((a, b) => compare(keys.get(a), keys.get(b)) * (down ? -1 : 1));
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  }

  for (const head of heads) {
    const button = element("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(head));
    head.replaceChildren(button);
  }
}

function filterable(section, table) {
  const box = section.querySelector(".filter");
  const input = box.querySelector("input");
  const output = box.querySelector("output");
  const none = section.querySelector(".none");
  const rows = [...table.tBodies[0].rows];
  const digests = rows.map((row) => row.querySelector("[title]").title);
  let texts;

  function filter() {
    texts ??= rows.map((row) => {
      const cells = [...row.cells].slice(0, -1);
      return cells.map((cell) => cell.textContent).join(" ").toLowerCase();
    });
    const words = input.value.toLowerCase().split(/\s+/);
    const fits = (number, word) =>
      texts[number].includes(word) || digests[number].startsWith(word);
    let shown = 0;
    rows.forEach((row, number) => {
      row.hidden = !words.every((word) => fits(number, word));
      shown += !row.hidden;
    });
    none.hidden = shown > 0;
    output.textContent = input.value.trim()
      ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` : "";
  }

  box.hidden = false;
  input.addEventListener("input", filter);
  return (row) => {
    if (!row.hidden) return;
    input.value = "";
    filter();
  };
}

function pointable(figure) {
  const chart = figure.querySelector(".chart");
  const tip = figure.querySelector(".tip");
  const segments = [...figure.querySelectorAll(".segment")];
  let hiding;

  function show(segment) {
    clearTimeout(hiding);
    const list = element("dl");
    for (const line of segment.facts) {
      const [name, value] = line.split("\t");
      list.append(element("dt", name), element("dd", value));
    }
    tip.replaceChildren(list);
    tip.className = `tip ${[...segment.classList].find((name) => name.startsWith("k-"))}`;
    tip.hidden = false;
    const frame = chart.getBoundingClientRect();
    const bar = segment.querySelector("rect").getBoundingClientRect();
    const middle = bar.left + bar.width / 2 - frame.left;
    const left = Math.min(middle - tip.offsetWidth / 2, frame.width - tip.offsetWidth);
    tip.style.left = `${Math.max(0, left)}px`;
  }

  function hide() {
    clearTimeout(hiding);
    tip.hidden = true;
  }

  function hideSoon() {
    hiding = setTimeout(hide, 150);
  }

  function move(event, number) {
    const steps = { ArrowLeft: number - 1, ArrowRight: number + 1, Home: 0, End: Infinity };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    segments[Math.max(0, Math.min(steps[event.key], segments.length - 1))].focus();
  }

  segments.forEach((segment, number) => {
    const title = segment.querySelector("title");
    segment.facts = title.textContent.split("\n");
    title.remove();
    segment.setAttribute("tabindex", number === segments.length - 1 ? "0" : "-1");
    segment.addEventListener("pointerenter", () => show(segment));
    segment.addEventListener("pointerleave", hideSoon);
    segment.addEventListener("focus", () => {
      for (const other of segments) other.setAttribute("tabindex", other === segment ? "0" : "-1");
      show(segment);
    });
    segment.addEventListener("blur", hide);
    segment.addEventListener("keydown", (event) => move(event, number));
  });
  tip.addEventListener("pointerenter", () => clearTimeout(hiding));
  tip.addEventListener("pointerleave", hideSoon);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  figure.querySelector(".keys").hidden = false;
}

const reveals = new Map();
for (const section of document.querySelectorAll(".manager")) {
  const table = section.querySelector(".changes");
  if (!table) continue;
  sortable(table);
  reveals.set(table, filterable(section, table));
  pointable(section.querySelector(".timeline"));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const row = link && document.getElementById(link.getAttribute("href").slice(1));
  const table = row?.closest(".changes");
  if (table) reveals.get(table)(row);
});
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
