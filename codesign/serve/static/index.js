import { address, ago, ask, byId, keepDoing, make, whole } from "/static/page.js";

function link(kind, name, text) {
  const anchor = make("a", text || name);
  anchor.href = address(kind, name);
  return anchor;
}

function row(study) {
  const line = make("tr");
  const name = line.appendChild(make("td", undefined, "text"));
  if (study.problem) {
    name.append(study.name);
    const cell = line.appendChild(make("td", study.problem, "text"));
    cell.colSpan = 6;
    return line;
  }
  name.append(link("study", study.name, study.study), make("small", study.name));
  const about = study.description || `${study.workload} on ${study.arch}`;
  line.append(make("td", about, "text"), make("td", study.method));
  const finished = study.planned !== null && study.done >= study.planned;
  const state = study.running ? "running" : finished ? "finished" : "not running";
  line.append(make("td", state, study.running ? "running" : ""));
  const of = study.planned === null ? "" : ` of ${whole(study.planned)}`;
  line.append(make("td", whole(study.done) + of, "num"), make("td", whole(study.failed), "num"));
  line.append(make("td", ago(study.stored_at)));
  return line;
}

let shown = "";

async function refresh() {
  const found = await ask("/api/studies");
  const now = JSON.stringify(found) + Math.floor(Date.now() / 10000);
  if (now === shown) return;
  shown = now;
  byId("folder").textContent = found.folder;
  const empty = make("tr");
  empty.appendChild(make("td", "No study yet: codesign sweep NAME starts one.")).colSpan = 7;
  byId("studies").replaceChildren(...(found.studies.length ? found.studies.map(row) : [empty]));
  const items = found.reports.map((name) => {
    const item = make("li");
    item.append(link("report", name));
    return item;
  });
  byId("reports").replaceChildren(...(items.length ? items : [make("li", "No report yet: -o DIR leaves one.")]));
}

keepDoing(refresh, (problem) => { byId("problem").textContent = problem; });
