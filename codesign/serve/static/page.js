// Pieces that both pages use: elements, answers of the server, times, numbers.
export const byId = (id) => document.getElementById(id);

export function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

export const address = (kind, name) => `/${kind}/${name.split("/").map(encodeURIComponent).join("/")}`;

// Throws Refusal with what the server says, or that it says nothing.
export class Refusal extends Error {}

export async function ask(url) {
  let answer;
  try {
    answer = await fetch(url, { cache: "no-store" });
  } catch {
    throw new Refusal("the server does not answer; trying again");
  }
  const json = (answer.headers.get("content-type") || "").startsWith("application/json");
  const found = json ? await answer.json() : { problem: (await answer.text()).trim() };
  if (!answer.ok) throw new Refusal(found.problem || `the server answered ${answer.status}`);
  return found;
}

export function ago(seconds) {
  if (seconds === null) return "never";
  const past = Math.max(0, Date.now() / 1000 - seconds);
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (past >= length) return `${Math.floor(past / length)} ${unit} ago`;
  }
  return `${Math.floor(past)} s ago`;
}

export const whole = (value) => value.toLocaleString("en");

export function number(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return whole(value);
  return Math.abs(value) >= 1e9 ? value.toPrecision(4) : String(Number(value.toPrecision(4)));
}

// Runs a task again and again, at least a second apart and never longer than a fifth of the time.
export function keepDoing(task, report) {
  const step = async () => {
    const began = performance.now();
    try {
      await task();
      report("");
    } catch (error) {
      report(error.message);
      if (!(error instanceof Refusal)) console.error(error);
    }
    setTimeout(step, Math.max(1000, 4 * (performance.now() - began)));
  };
  step();
}
