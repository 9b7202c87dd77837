import { colouring, legendMark, scatter } from "/static/chart.js";
import { comparison } from "/static/compare.js";
import { parseFilter, valueOf } from "/static/filter.js";
import { address, ago, ask, byId, keepDoing, make, number, whole } from "/static/page.js";

const MOST_COMPARED = 6, ROWS_AT_ONCE = 100;
const name = location.pathname.slice("/study/".length).split("/").map(decodeURIComponent).join("/");
const points = new Map();
let facts = null, newest = 0, chosen = [], sorted = { name: "number", down: false }, rowsShown = ROWS_AT_ONCE;

// Only what is new is asked for; where the counts then disagree, everything is.
async function refresh() {
  const url = address("api/points", name);
  const query = facts ? `?since=${newest}&state=${encodeURIComponent(facts.state)}` : "";
  let found = await ask(url + query);
  if (!found.unchanged) {
    for (const point of found.points) points.set(point.key, point);
    const failed = [...points.values()].filter((point) => point.error).length;
    if (points.size !== found.shown || failed !== found.failed) {
      found = await ask(url);
      points.clear();
      for (const point of found.points) points.set(point.key, point);
    }
    const first = facts === null;
    facts = { ...found, points: undefined };
    newest = found.stored_at === null ? 0 : found.stored_at;
    if (first) begin();
    choices();
    render();
  }
  progress();
}

function begin() {
  document.title = `${facts.study} · codesign`;
  byId("title").textContent = facts.study;
  byId("about").textContent = [facts.description, `${facts.workload} on ${facts.arch}`, `${facts.method}, ${facts.fidelity} fidelity`, ...facts.constraints].filter(Boolean).join(" · ");
}

function progress() {
  if (!facts) return;
  const running = facts.stored_at !== null && Date.now() / 1000 - facts.stored_at < 15 && (facts.planned === null || facts.done < facts.planned);
  const words = [`${whole(facts.done)}${facts.planned === null ? "" : ` of ${whole(facts.planned)}`} points`];
  if (facts.total > facts.done) words.push(`${whole(facts.total - facts.done)} followed more closely`);
  if (facts.shown < facts.total) words.push(`the first ${whole(facts.shown)} are shown`);
  if (running && facts.points_per_s > 0) {
    words.push(`${number(facts.points_per_s)}/s`);
    if (facts.planned !== null) words.push(`${whole(Math.ceil((facts.planned - facts.done) / facts.points_per_s))} s left`);
  }
  words.push(`${whole(facts.failed)} failed`, `front of ${whole(facts.front.length)}`, `last point ${ago(facts.stored_at)}`);
  const state = byId("state");
  state.textContent = words.join(" · ");
  state.className = running ? "running" : "";
  byId("progress").max = facts.planned || 1;
  byId("progress").value = facts.planned === null ? 1 : Math.min(facts.done, facts.planned);
}

const metricNames = () => [...new Set([...facts.wanted, ...[...points.values()].flatMap((point) => Object.keys(point.metrics))])];

function options(id, names, start) {
  const select = byId(id);
  const had = [...select.options].map((option) => option.value).join("\n");
  if (had === names.map(([value]) => value).join("\n")) return;
  const kept = select.options.length ? select.value : start;
  select.replaceChildren(...names.map(([value, text]) => {
    const option = make("option", text);
    option.value = value;
    return option;
  }));
  select.value = names.some(([value]) => value === kept) ? kept : start;
}

function choices() {
  const same = (words) => words.map((word) => [word, word]);
  const goals = Object.keys(facts.metrics), numeric = [...metricNames(), ...facts.parameters];
  options("x", same(numeric), goals[0]);
  options("y", same(numeric), goals[1] || goals[0]);
  options("colour", same([...facts.parameters, "fidelity", ...metricNames()]), facts.parameters[0]);
  const fidelities = [...new Set([...points.values()].map((point) => point.fidelity))];
  options("fidelity", [["", "any"], ...same(fidelities)], "");
}

function passing() {
  const field = byId("filter"), fault = byId("fault");
  let holds = () => true;
  try {
    holds = parseFilter(field.value, [...metricNames(), ...facts.parameters]);
    fault.textContent = "";
    field.removeAttribute("aria-invalid");
  } catch (error) {
    fault.textContent = error.message;
    field.setAttribute("aria-invalid", "true");
  }
  const front = new Set(facts.front), which = byId("which").value, fidelity = byId("fidelity").value;
  return [...points.values()].filter((point) => holds(point)
    && (!fidelity || point.fidelity === fidelity)
    && (which === "all" || (which === "front" ? front.has(point.key) : point.error !== null)));
}

function order(points) {
  const value = (point) => valueOf(point, sorted.name), turn = sorted.down ? -1 : 1;
  return points.sort((a, b) => {
    const [p, q] = [value(a), value(b)];
    if (p === undefined || p === null || q === undefined || q === null) return (p === undefined || p === null) - (q === undefined || q === null);
    const both = typeof p === "number" && typeof q === "number";
    return turn * (both ? p - q : String(p).localeCompare(String(q))) || a.number - b.number;
  });
}

function columns() {
  const errors = facts.failed ? ["error"] : [];
  return ["number", "fidelity", ...(byId("every").checked ? metricNames() : facts.wanted), ...facts.parameters, ...errors];
}

function render() {
  if (!facts) return;
  const found = order(passing());
  byId("count").textContent = `${whole(found.length)} of ${whole(points.size)} points`;
  drawChart(found);
  drawTable(found);
  const compared = chosen.map((key) => points.get(key)).filter(Boolean);
  byId("compare").hidden = !compared.length;
  if (compared.length) comparison(byId("compared"), name, facts, compared, choose);
}

function drawChart(found) {
  const [xName, yName, by] = ["x", "y", "colour"].map((id) => byId(id).value);
  const good = found.filter((point) => point.error === null);
  const colours = colouring([...points.values()], (point) => valueOf(point, by), facts.palette);
  const goals = Object.keys(facts.metrics);
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : undefined;
  byId("chart").replaceChildren(scatter({
    points: good, front: new Set(facts.front), chosen: new Set(chosen),
    x: (point) => valueOf(point, xName), y: (point) => valueOf(point, yName), xName, yName,
    xLog: byId("x-log").checked, yLog: byId("y-log").checked,
    colours, palette: facts.palette, label: words, width: byId("chart").clientWidth,
    joined: goals.length === 2 && goals.includes(xName) && goals.includes(yName) && xName !== yName,
  }));
  if (focused) {
    const again = [...byId("chart").querySelectorAll(".mark[tabindex]")].find((mark) => mark.dataset.key === focused);
    if (again) again.focus();
  }
  byId("legend").replaceChildren(...colours.names.map((text, place) => {
    const item = make("li");
    item.append(legendMark(facts.palette, place), text.slice(0, 40));
    return item;
  }));
}

const words = (point) => [
  `${point.number} ${point.fidelity}`,
  ...facts.parameters.filter((path) => path in point.values).map((path) => `${path} ${number(point.values[path])}`),
  ...facts.wanted.map((metric) => `${metric} ${number(point.metrics[metric])}`),
].join(" · ").slice(0, 600);

function drawTable(found) {
  const names = columns();
  byId("head").replaceChildren(make("th", "compare"), ...names.map((column) => {
    const cell = make("th");
    cell.scope = "col";
    const button = cell.appendChild(make("button", column));
    button.type = "button";
    if (sorted.name === column) cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    button.addEventListener("click", () => {
      sorted = { name: column, down: sorted.name === column && !sorted.down };
      render();
    });
    return cell;
  }));
  byId("body").replaceChildren(...found.slice(0, rowsShown).map((point) => {
    const row = make("tr", undefined, point.error === null ? "" : "failed");
    const box = make("input");
    box.type = "checkbox";
    box.checked = chosen.includes(point.key);
    box.setAttribute("aria-label", `compare ${point.number} ${point.fidelity}`);
    box.addEventListener("change", () => choose(point.key));
    row.appendChild(make("td")).append(box);
    row.append(...names.map((column) => {
      const value = column === "error" ? point.error || "" : valueOf(point, column);
      const cell = make("td", undefined, typeof value === "number" ? "num" : "text");
      cell.append(make("div", column === "error" ? value : number(value)));
      return cell;
    }));
    return row;
  }));
  byId("more").hidden = found.length <= rowsShown;
}

function choose(key) {
  chosen = chosen.includes(key) ? chosen.filter((other) => other !== key) : [...chosen, key].slice(-MOST_COMPARED);
  render();
}

// Cells that a spreadsheet would take for a formula begin with an apostrophe.
function csvCell(value) {
  if (value === undefined || value === null) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const names = ["number", "fidelity", ...facts.parameters, ...metricNames(), "error", "key"];
  const value = (point, column) => (column === "error" || column === "key" ? point[column] : valueOf(point, column));
  const lines = order(passing()).map((point) => names.map((column) => csvCell(value(point, column))).join(","));
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([[names.map(csvCell).join(","), ...lines].join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = `${facts.study}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

for (const id of ["which", "fidelity", "x", "y", "colour", "x-log", "y-log", "every"]) byId(id).addEventListener("change", render);
byId("filter").addEventListener("input", render);
addEventListener("resize", render);
byId("choices").addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => { chosen = []; render(); });
byId("more").addEventListener("click", () => { rowsShown += ROWS_AT_ONCE; render(); });
byId("csv").addEventListener("click", () => { if (facts) download(); });

const keyOf = (event) => event.target.dataset && event.target.classList.contains("mark") ? event.target.dataset.key : undefined;
byId("chart").addEventListener("click", (event) => { if (keyOf(event)) choose(keyOf(event)); });
byId("chart").addEventListener("keydown", (event) => {
  if (!keyOf(event) || (event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  choose(keyOf(event));
});
byId("chart").addEventListener("pointermove", (event) => {
  const tip = byId("tip"), point = points.get(keyOf(event));
  tip.style.visibility = point ? "visible" : "hidden";
  if (!point) return;
  tip.textContent = words(point);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 4))}px`;
  tip.style.top = `${event.clientY > box.height + 20 ? event.clientY - box.height - 10 : event.clientY + 16}px`;
});
byId("chart").addEventListener("pointerleave", () => { byId("tip").style.visibility = "hidden"; });

keepDoing(refresh, (problem) => { byId("problem").textContent = problem; });
