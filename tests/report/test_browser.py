"""Does the page work in a browser: no error, nothing too wide, sort, filter, choice, download?"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codesign.metrics.result import Result
from codesign.report.html import write_report
from tests.report.made_by_hand import HOSTILE, hostile, make_result

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))),
    None,
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const page = %s, widths = [390, 1280];
const frames = widths.map((width) => {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.srcdoc = page;
  document.body.append(frame);
  return frame;
});
const look = () => {
  const out = { wide: {}, requests: 0 };
  for (const [i, frame] of frames.entries()) {
    const root = frame.contentDocument.documentElement;
    out.wide[widths[i]] = root.scrollWidth - root.clientWidth;
    out.requests += frame.contentWindow.performance.getEntriesByType("resource").length;
  }
  const win = frames[1].contentWindow, doc = frames[1].contentDocument;
  const all = (selector) => [...doc.querySelectorAll(selector)];
  const rows = () => all("#ops-body tr").map((r) => [...r.children].map((c) => c.textContent));
  const heading = (name) => all("#ops-head button").find((b) => b.textContent === name);
  const set = (id, value, event) => {
    doc.getElementById(id).value = value;
    doc.getElementById(id).dispatchEvent(new win.Event(event));
  };
  out.first = rows();
  out.head = all("#ops-head button").map((b) => b.textContent);
  heading("DRAM").click();
  out.by_dram = rows();
  heading("DRAM").click();
  out.by_dram_up = rows();
  set("filter", "layer2 conv", "input");
  out.filtered = rows();
  win.Blob = function (parts) { out.csv = parts.join(""); };
  win.URL.createObjectURL = () => "#";
  doc.getElementById("csv").click();
  set("filter", "", "input");
  set("run", "all", "change");
  out.all_count = doc.getElementById("count").textContent;
  out.buttons = all(".pick button").map((button) => {
    button.click();
    const shown = all(".scenario").filter((s) => s.getBoundingClientRect().height > 0);
    return [button.textContent, shown.length];
  });
  const mark = all("figure .w svg [data-tip]")[0];
  const at = { bubbles: true, clientX: 50, clientY: 200 };
  mark.dispatchEvent(new win.PointerEvent("pointermove", at));
  out.tip = [mark.dataset.tip, doc.getElementById("tip").textContent,
             win.getComputedStyle(doc.getElementById("tip")).visibility];
  out.alerts = window.alerts || 0;
  return out;
};
addEventListener("load", () => {
  let out;
  try { out = look(); } catch (error) { out = { error: error.stack }; }
  document.body.textContent = JSON.stringify(out);
});
</script>"""


def browse(report: Path, folder: Path) -> tuple[dict, str]:
    page = json.dumps(report.read_text(encoding="utf-8")).replace("</", "<\\/")
    harness = folder / "harness.html"
    harness.write_text(HARNESS % page, encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--window-size=1700,1000",
            "--virtual-time-budget=8000",
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            harness.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    dom = done.stdout.decode()
    body = html.unescape(re.search(r"<body>(.*)</body>", dom, re.S).group(1))
    errors = [
        line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line
    ]
    return json.loads(body), "\n".join(errors)


def test_the_page_works(results: list[Result], tmp_path: Path) -> None:
    report = write_report(results, tmp_path / "r.html", title="Toys")
    out, errors = browse(report, tmp_path)
    assert errors == ""
    assert out["requests"] == 0
    assert out["wide"] == {"390": 0, "1280": 0}
    head = out["head"]
    fastest = next(r for r in results if (r.arch, r.sparsity) == ("sat", "2:8"))
    names = [row[head.index("operator")] for row in out["first"]]
    ranked = sorted(fastest.ops, key=lambda op: -op.cycles)
    assert names == [op.name for op in ranked]
    by = {op.name: op.dram_bytes for op in fastest.ops}
    dram = [by[row[0]] for row in out["by_dram"]]
    assert dram == sorted(by.values(), reverse=True)
    assert [by[row[0]] for row in out["by_dram_up"]] == sorted(by.values())
    wanted = {op.name for op in fastest.ops if "layer2" in op.name and op.kind == "conv"}
    wanted |= {op.name for op in fastest.ops if "layer2" in op.name and "conv" in op.layer}
    assert {row[0] for row in out["filtered"]} == wanted
    table = list(csv.DictReader(io.StringIO(out["csv"])))
    assert {row["operator"] for row in table} == wanted
    for row in table:
        op = next(op for op in fastest.ops if op.name == row["operator"])
        assert int(row["cycles"]) == op.cycles
        assert int(row["dram_bytes"]) == op.dram_bytes
    total = sum(len(r.ops) for r in results)
    assert out["all_count"] == f"100 of {total} operators"
    sections = dict(out["buttons"])
    assert sections.pop("all") == 4 * next(iter(sections.values()))
    assert len(set(sections.values())) == 1
    assert out["tip"][0] == out["tip"][1] != ""
    assert out["tip"][2] == "visible"


def test_hostile_strings_run_nothing_and_widen_nothing(tmp_path: Path) -> None:
    many = [hostile(text) for text in HOSTILE]
    report = write_report([*many, make_result()], tmp_path / "r.html", title=HOSTILE[0])
    out, errors = browse(report, tmp_path)
    assert errors == ""
    assert out["alerts"] == 0
    assert out["requests"] == 0
    assert out["wide"] == {"390": 0, "1280": 0}
