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

// One filter for the tables of all managers. Returns what shows a row that it hides.
function filterable(box, tables) {
  const input = box.querySelector("input");
  const output = box.querySelector("output");
  const none = document.querySelector(".none");
  const all = tables.map((table) => ({
    section: table.closest(".manager"),
    name: table.closest(".manager").querySelector("h2").textContent.toLowerCase(),
    rows: [...table.tBodies[0].rows],
  }));
  const total = all.reduce((sum, { rows }) => sum + rows.length, 0);
  let texts;

  function filter() {
    texts ??= new Map(all.flatMap(({ rows, name }) => rows.map((row) => {
      const cells = [...row.cells].map((cell) => cell.textContent);
      return [row, `${name} ${cells.join(" ")}`.toLowerCase()];
    })));
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { section, rows } of all) {
      let here = 0;
      for (const row of rows) {
        const fits = words.every((word) => texts.get(row).includes(word));
        if (row.hidden === fits) row.hidden = !fits;
        here += fits;
      }
      section.hidden = words.length > 0 && here === 0;
      shown += here;
    }
    none.hidden = shown > 0;
    output.textContent = words.length
      ? `${shown.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  }

  box.hidden = false;
  input.addEventListener("input", filter);
  return (target) => {
    if (!target.closest("[hidden]")) return;
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

const tables = [...document.querySelectorAll(".changes")];
for (const table of tables) sortable(table);
for (const figure of document.querySelectorAll(".timeline")) pointable(figure);

const box = document.querySelector(".filter");
if (box && tables.length) {
  const reveal = filterable(box, tables);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const target = link && document.getElementById(link.getAttribute("href").slice(1));
    if (target) reveal(target);
  });
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
