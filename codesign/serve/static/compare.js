// Designs side by side: what differs between them, their figures with ratios, how to run each again.
import { address, ask, make, number } from "/static/page.js";

const known = new Map();

async function design(study, key) {
  if (!known.has(key)) known.set(key, await ask(`${address("api/design", study)}?key=${encodeURIComponent(key)}`));
  return known.get(key);
}

function line(name, cells) {
  const row = make("tr");
  const head = row.appendChild(make("th", name));
  head.scope = "row";
  row.append(...cells);
  return row;
}

function ratioCell(value, first, best) {
  const cell = make("td", number(value), best ? "num best" : "num");
  if (typeof value === "number" && typeof first === "number" && first !== 0 && value !== first) {
    cell.append(make("small", `${number(value / first)}×`));
  }
  return cell;
}

function best(goal, values) {
  const numbers = values.filter((value) => typeof value === "number");
  if (!goal || numbers.length < 2) return undefined;
  return goal === "minimize" ? Math.min(...numbers) : Math.max(...numbers);
}

// The rows of the table; `drop` is called with the key of a design that is to go.
export function comparison(table, study, facts, points, drop) {
  const head = line("design", points.map((point) => {
    const cell = make("th", `${point.number} ${point.fidelity} `);
    cell.scope = "col";
    const button = cell.appendChild(make("button", "×"));
    button.type = "button";
    button.setAttribute("aria-label", `compare ${point.number} ${point.fidelity} no longer`);
    button.addEventListener("click", () => drop(point.key));
    return cell;
  }));
  const parameters = facts.parameters.map((name) => {
    const values = points.map((point) => point.values[name]);
    const differ = new Set(values.map(String)).size > 1;
    return line(name, values.map((value) => make("td", number(value), differ ? "best" : "")));
  });
  const names = [...new Set([...facts.wanted, ...points.flatMap((point) => Object.keys(point.metrics))])];
  const metrics = names.map((name) => {
    const values = points.map((point) => point.metrics[name]);
    const winner = best(facts.metrics[name], values);
    return line(name, values.map((value) => ratioCell(value, values[0], value === winner)));
  });
  const commands = points.map((point) => {
    const cell = make("td", "…", "text");
    design(study, point.key).then((found) => {
      const text = found.command || JSON.stringify(found.config);
      cell.replaceChildren(make("code", text), make("small", `codesign ${found.version}, seed ${found.seed}`));
    }, (error) => { cell.textContent = error.message; });
    return cell;
  });
  const rows = [...parameters, ...metrics, line("run it again", commands)];
  if (points.some((point) => point.error)) rows.push(line("error", points.map((point) => make("td", point.error || "", "text"))));
  const body = make("tbody");
  body.append(...rows);
  const top = make("thead");
  top.append(head);
  table.replaceChildren(top, body);
}
