"use strict";
// Reads the stream of figures and shows the last point. It connects again after an end, a little later each time.
const element = (id) => document.getElementById(id);
const KEY = "metricstream-key";
let waitMs = 500;

function show(point) {
  const seconds = point.span_ms / 1000;
  element("requests").textContent = seconds > 0 ? (point.requests / seconds).toFixed(1) : "unknown";
  const statuses = Object.entries(point.responses).map(([status, count]) => `${status}: ${count}`);
  element("responses").textContent = statuses.join(", ") || "none";
}

function take(line) {
  if (line.type === "hello") element("state").textContent = `version ${line.version}, ${line.driver}`;
  if (line.type === "point" && line.step_s === 1) show(line.point);
  if (line.type === "history" && line.step_s === 1 && line.points.length > 0) show(line.points.at(-1));
}

async function read() {
  const key = sessionStorage.getItem(KEY);
  const response = await fetch("/ui/stream", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (response.status === 401) {
    element("key").hidden = false;
    element("state").textContent = "an API key is needed";
    return false;
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  element("key").hidden = true;
  waitMs = 500;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the stream ended");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(JSON.parse(line));
  }
}

async function run() {
  try {
    if (!(await read())) return;
  } catch (error) {
    element("state").textContent = `not connected: ${error.message}`;
  }
  setTimeout(run, waitMs);
  waitMs = Math.min(waitMs * 2, 10_000);
}

element("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, new FormData(event.target).get("key"));
  run();
});
run();
