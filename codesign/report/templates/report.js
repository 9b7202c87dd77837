"use strict";
(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  document.documentElement.classList.add("js");

  // Tooltips: the titles of marks, shown at once and also on touch.
  const tip = document.body.appendChild(make("div"));
  tip.id = "tip";
  tip.setAttribute("aria-hidden", "true");
  for (const title of $("figure svg title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const point = (event) => {
    const text = event.target.dataset && event.target.dataset.tip;
    tip.style.visibility = text ? "visible" : "hidden";
    if (!text) return;
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 4)) + "px";
    tip.style.top = (event.clientY > box.height + 20 ? event.clientY - box.height - 10 : event.clientY + 16) + "px";
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  document.addEventListener("scroll", () => { tip.style.visibility = "hidden"; }, { passive: true });

  // Which comparison the page shows.
  const data = JSON.parse(document.getElementById("data").textContent);
  const buttons = $(".pick button");
  const choose = (scenario) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.s === scenario));
    for (const block of $(".scenario")) block.hidden = scenario !== "all" && block.dataset.s !== scenario;
    const run = data.runs.findIndex((r) => String(r.scenario) === scenario && r.fastest);
    if (run >= 0) { runPick.value = String(run); refresh(); }
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.s));

  // The table of operators.
  const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"]];
  const digits = (v) => v.toLocaleString("en", { maximumSignificantDigits: 3, minimumSignificantDigits: 3 });
  const si = (value, unit) => {
    if (value === null || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const [factor, prefix] = PREFIXES.find(([f]) => Math.abs(value) >= f * 0.9995) || [1e-12, "p"];
    return (value < 1000 && Number.isInteger(value) ? String(value) : digits(value / factor)) + " " + prefix + unit;
  };
  const percent = (v) => v === null ? "–" : v > 0 && v < 0.005 ? "<1 %" : Math.round(v * 100) + " %";
  const field = (name) => { const i = data.text.indexOf(name); return i >= 0 ? i : data.text.length + data.numbers.indexOf(name); };
  const raw = (name) => (run, i) => run.columns[field(name)][i];
  const text = (name) => (run, i) => data.strings[raw(name)(run, i)];
  const COLUMNS = [
    { title: "run", get: (run) => run.title + " · " + run.label, all: true },
    { title: "operator", get: text("name") },
    { title: "shape", get: text("shape") },
    { title: "pattern", get: text("pattern") },
    { title: "bound by", get: text("bound_by") },
    { title: "time", name: "time_s", get: (run, i) => raw("cycles")(run, i) * run.seconds_per_cycle, show: (v) => si(v, "s") },
    { title: "share", name: "share_of_run", get: (run, i) => run.cycles ? raw("cycles")(run, i) / run.cycles : null, show: percent },
    { title: "use of array", name: "utilisation", get: raw("utilisation"), show: percent },
    { title: "over roofline", name: "cycles_over_roofline", get: (run, i) => raw("roofline_cycles")(run, i) ? raw("cycles")(run, i) / raw("roofline_cycles")(run, i) : null, show: (v) => v === null ? "–" : digits(v) + "×" },
    { title: "DRAM", name: "dram_bytes", get: raw("dram_bytes"), show: (v) => si(v, "B") },
    { title: "energy", name: "energy_pj", get: raw("energy_pj"), show: (v) => si(v === null ? null : v * 1e-12, "J") },
    { title: "kind", get: text("kind") },
    { title: "phase", get: text("phase") },
    { title: "mapping", get: text("mapping") },
    { title: "MACs", name: "macs", get: raw("macs"), show: (v) => si(v, "MAC") },
    { title: "issued", name: "executed_macs", get: raw("executed_macs"), show: (v) => si(v, "MAC") },
    { title: "cycles", get: raw("cycles"), show: (v) => v.toLocaleString("en") },
    { title: "layer", get: text("layer") },
    { title: "note", get: text("note") },
  ];
  const runPick = document.getElementById("run"), filter = document.getElementById("filter");
  const bound = document.getElementById("bound"), head = document.getElementById("ops-head");
  const body = document.getElementById("ops-body"), more = document.getElementById("more");
  const count = document.getElementById("count");
  let sortBy = COLUMNS.findIndex((c) => c.title === "time"), descending = true, shown = 100, rows = [];

  data.runs.forEach((run, i) => {
    const option = make("option", run.title + " · " + run.label);
    option.value = String(i);
    runPick.append(option);
  });
  runPick.append(Object.assign(make("option", "all runs"), { value: "all" }));
  const boundField = field("bound_by");
  for (const name of [...new Set(data.runs.flatMap((r) => r.columns[boundField]))].map((i) => data.strings[i]).sort())
    bound.append(Object.assign(make("option", name), { value: name }));

  const visible = () => COLUMNS.filter((c) => !c.all || runPick.value === "all");
  const select = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const runs = runPick.value === "all" ? data.runs : [data.runs[Number(runPick.value)]];
    const searched = ["name", "layer", "kind", "phase", "shape", "pattern", "mapping"].map(text);
    rows = [];
    for (const run of runs) {
      for (let i = 0; i < run.columns[0].length; i++) {
        if (bound.value && text("bound_by")(run, i) !== bound.value) continue;
        if (words.length) {
          const all = searched.map((get) => get(run, i)).join(" ").toLowerCase();
          if (!words.every((word) => all.includes(word))) continue;
        }
        rows.push([run, i]);
      }
    }
    const get = COLUMNS[sortBy].get;
    const keyed = rows.map((row, place) => [get(...row), place, row]);
    keyed.sort(([a, p], [b, q]) => {
      const order = a === b ? 0 : a === null ? -1 : b === null ? 1 : a < b ? -1 : 1;
      return (descending ? -order : order) || p - q;
    });
    rows = keyed.map((entry) => entry[2]);
  };
  const render = () => {
    head.replaceChildren(...visible().map((column) => {
      const cell = make("th", undefined, column.show ? "num" : "");
      const button = make("button", column.title);
      cell.scope = "col";
      if (COLUMNS[sortBy] === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      button.type = "button";
      button.addEventListener("click", () => {
        const index = COLUMNS.indexOf(column);
        descending = index === sortBy ? !descending : Boolean(column.show);
        sortBy = index;
        refresh();
        $("th button", head)[visible().indexOf(column)].focus();
      });
      cell.append(button);
      return cell;
    }));
    body.replaceChildren(...rows.slice(0, shown).map(([run, i]) => {
      const line = make("tr");
      for (const column of visible()) {
        const value = column.get(run, i);
        if (column.show) { line.append(make("td", column.show(value), "num")); continue; }
        const cell = make("td", undefined, "clip");
        cell.append(make("div", value));
        line.append(cell);
      }
      return line;
    }));
    count.textContent = Math.min(shown, rows.length).toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " operators";
    more.hidden = rows.length <= shown;
  };
  const refresh = () => { shown = 100; select(); render(); };
  for (const control of [runPick, bound]) control.addEventListener("change", refresh);
  filter.addEventListener("input", refresh);
  more.addEventListener("click", () => { shown += 400; render(); });

  const cell = (value) => {
    let out = value === null ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(out)) out = "'" + out;
    return /[",\n\r]/.test(out) ? '"' + out.replaceAll('"', '""') + '"' : out;
  };
  document.getElementById("csv").addEventListener("click", () => {
    const lines = [COLUMNS.map((c) => cell(c.name || c.title))];
    for (const [run, i] of rows) lines.push(COLUMNS.map((c) => cell(c.get(run, i))));
    const blob = new Blob([lines.map((line) => line.join(",")).join("\n") + "\n"], { type: "text/csv" });
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "operators.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  addEventListener("beforeprint", () => $("details").forEach((d) => { d.open = true; }));
  const first = data.runs.findIndex((r) => r.fastest);
  runPick.value = String(Math.max(first, 0));
  if (buttons.length) choose(buttons[0].dataset.s); else refresh();
})();
