// The page of `watch`: tabs, controls, and what is drawn when a moment has come.

import * as draw from "./draw.js";
import { Session } from "./session.js";

const $ = (id) => document.getElementById(id);
const KEYS = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", " ": "fire" };
const SEEDS = 2n ** 63n; // a seed is a text here: JavaScript's numbers are exact up to 2^53 only

const sessions = []; // one for each tab that was opened
let current = null; // the session that is shown
let film = []; // screens to come, each with its time
let fresh = false; // whether the newest moment is still to be drawn
const pressed = new Map(); // keys of the game, by the places that they have on the keyboard

function select(tab) {
  const number = Number(tab.dataset.number);
  if (current?.number === number) return;
  for (const other of $("tabs").children) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  release();
  sessions[number] ??= new Session(number, tab.textContent, onMoment, onEnd);
  current = sessions[number];
  history.replaceState(null, "", `#${number}`);
  film = [];
  $("panel").inert = !current.moment; // until it can be obeyed
  $("bars").replaceChildren();
  if (current.moment) onMoment(current);
  onEnd(current);
}

function onMoment(session) {
  if (session !== current) return;
  const { state, screens } = session.moment;
  const between = 1000 / state.decisions_per_second / state.speed / Math.max(1, screens.length);
  const now = performance.now();
  film = screens.map((screen, i) => ({ screen, at: now + (i === 0 ? 0 : i * between) }));
  fresh = true;
}

function onEnd(session) {
  if (session !== current) return;
  const state = session.moment?.state;
  $("notice").textContent = session.ended ? `${session.ended}. Reload the page to try again.` : state?.notice || "";
  $("notice").hidden = !$("notice").textContent;
}

function frame() {
  requestAnimationFrame(frame);
  if (!current?.moment) return;
  const due = film.filter(({ at }) => at <= performance.now());
  if (due.length) {
    film = film.slice(due.length);
    drawScreen(due.at(-1).screen, current.moment);
  }
  if (!fresh) return;
  fresh = false;
  try {
    drawMoment(current.moment);
  } finally {
    current.drawn();
  }
}

function drawScreen(screen, { state, saliency }) {
  const scale = screen.height < 300 ? 3 : 1;
  const pen = draw.picture($("screen"), screen, scale);
  if (!state.saliency || !saliency) return;
  pen.imageSmoothingEnabled = true;
  pen.globalAlpha = 0.75;
  pen.drawImage(saliency, 0, 0, $("screen").width, $("screen").height);
  pen.globalAlpha = 1;
}

function drawMoment({ state, stack }) {
  onEnd(current);
  $("panel").inert = false;
  document.title = `${state.game}, ${state.run}`;
  $("game").textContent = state.game;
  $("return").textContent = state.return?.toLocaleString("en") ?? "-";
  $("length").textContent = state.step.toLocaleString("en");
  $("trained").textContent = `${state.trained.toLocaleString("en")} steps`;
  $("hand-fact").hidden = !state.by_hand;
  $("agreed").textContent = `${state.agreed} of ${state.by_hand}`;
  $("banner").hidden = !state.over;
  $("banner").textContent = state.cut ? "cut: no reward for too long" : "the end";
  if (state.obeyed === current.asked) drawControls(state); // else what was asked for still shows
  drawBars(state);
  drawChoice(state);
  draw.history($("history"), current.values);
  $("stack").hidden = !stack;
  if (stack) draw.frames($("stack"), stack);
  $("observation").hidden = !state.observation;
  $("observation").textContent = (state.observation || []).join(", ");
}

function drawControls(state) {
  $("pause").setAttribute("aria-pressed", state.paused);
  $("pause").textContent = state.paused ? "Go on" : "Pause";
  $("human").setAttribute("aria-pressed", state.human);
  $("human").textContent = state.human ? "Hand back" : "Take over";
  $("help").hidden = !state.human;
  const waits = state.actions.some((name) => ["noop", "none"].includes(name.toLowerCase()));
  const when = state.paused ? "; paused: Step or Go on plays" : waits ? "" : "; the game waits for a key";
  $("help").textContent = `Arrow keys and space play; digits choose an action by its number${when}.`;
  const slider = $("checkpoint");
  slider.max = state.checkpoints.length - 1;
  slider.disabled = state.checkpoints.length < 2;
  slider.value = Math.max(0, state.checkpoints.indexOf(state.checkpoint));
  $("checkpoint-name").textContent = state.checkpoint;
  slider.setAttribute("aria-valuetext", state.checkpoint);
  $("speed").value = Math.round(Math.log2(state.speed));
  $("speed-name").textContent = `${state.speed} × (${state.decisions_per_second * state.speed} decisions a second)`;
  $("epsilon").value = state.epsilon;
  $("epsilon-name").textContent = draw.number(state.epsilon);
  if (document.activeElement !== $("seed")) $("seed").value = state.seed;
  $("saliency").parentElement.hidden = !state.has_saliency;
  $("saliency").checked = state.saliency;
}

function drawBars(state) {
  const list = $("bars");
  if (list.children.length !== state.actions.length) {
    list.replaceChildren(...state.actions.map(makeBar));
  }
  const spread = state.distribution;
  const known = draw.finite(spread ? spread.returns.flat() : state.numbers);
  const low = known.reduce((least, value) => Math.min(least, value), Infinity);
  const high = known.reduce((most, value) => Math.max(most, value), -Infinity);
  state.actions.forEach((name, action) => {
    const row = list.children[action];
    const value = state.numbers[action];
    const chosen = action === state.choice;
    row.classList.toggle("chosen", chosen);
    row.dataset.value = value;
    const marks = [chosen ? "▶" : "", state.human && action === state.hand ? "◆" : ""].join("");
    row.querySelector(".name").textContent = `${marks} ${name}`.trim();
    row.querySelector(".number").textContent = draw.number(value);
    const [track, canvas] = [row.querySelector(".track"), row.querySelector("canvas")];
    track.hidden = Boolean(spread);
    canvas.hidden = !spread;
    if (spread) {
      const [returns, chances] = [spread.returns[action], spread.probabilities[action]];
      draw.distribution(canvas, returns, chances, [low, high], value, chosen);
    } else {
      const part = value === null ? 0 : 0.04 + 0.96 * ((value - low) / (high - low || 1));
      track.firstChild.style.transform = `scaleX(${part})`;
    }
  });
}

function makeBar() {
  const row = document.createElement("li");
  row.innerHTML = '<span class="name"></span><div><div class="track"><div class="fill"></div></div><canvas></canvas></div><span class="number"></span>';
  return row;
}

function drawChoice(state) {
  const noun = state.kind === "value" ? "Action values" : "Preferences";
  $("values-title").textContent = state.distribution ? `${noun}: distribution of the return, its mean ▼` : `${noun}, bars from the lowest to the highest`;
  $("history-title").textContent = `Highest ${state.kind} over the last steps`;
  const name = (action) => state.actions[action];
  let text = `▶ The agent chooses ${name(state.choice)}${state.random ? ", at random (epsilon)" : ""}.`;
  if (state.over) text = "The game is over.";
  if (state.human && state.last) {
    const [played, chosen] = state.last;
    text += ` Before: you ${name(played)}, the agent ${played === chosen ? "too" : `would have played ${name(chosen)}`}.`;
  }
  $("last").textContent = text;
}

function release() {
  if (pressed.size && current) current.ask("keys", []);
  pressed.clear();
}

function press(event) {
  const state = current?.moment?.state;
  if (!state || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input") && event.target.type !== "checkbox") return;
  const key = KEYS[event.key] || (/^[1-9]$/.test(event.key) ? event.key : null);
  if (state.human && key) {
    event.preventDefault();
    if (pressed.has(event.code)) return; // it repeats
    pressed.set(event.code, key);
    current.ask("keys", [...pressed.values()]);
  } else if (event.key === ".") {
    current.ask("step", null);
  }
}

// Wherever the focus is by now, and whoever plays.
function lift(event) {
  if (!pressed.delete(event.code)) return;
  event.preventDefault();
  current.ask("keys", [...pressed.values()]);
}

function toggle(id, command) {
  $(id).addEventListener("click", () => current?.ask(command, $(id).getAttribute("aria-pressed") !== "true"));
}

function listen(id, type, ask) {
  const input = $(id);
  input.addEventListener(type, () => current?.moment && ask(input, current.moment.state));
}

toggle("pause", "pause");
toggle("human", "human");
$("step").addEventListener("click", () => current?.ask("step", null));
$("again").addEventListener("click", () => current?.moment && current.ask("seed", current.moment.state.seed));
$("next").addEventListener("click", () => current?.moment && current.ask("seed", `${(BigInt(current.moment.state.seed) + 1n) % SEEDS}`));
listen("checkpoint", "input", (input, state) => current.ask("checkpoint", state.checkpoints[input.value]));
listen("speed", "input", (input) => current.ask("speed", 2 ** input.value));
listen("epsilon", "input", (input) => current.ask("epsilon", Number(input.value)));
listen("seed", "change", (input) => {
  if (/^\d{1,19}$/.test(input.value) && BigInt(input.value) < SEEDS) current.ask("seed", input.value);
});
listen("saliency", "change", (input) => current.ask("saliency", input.checked));
$("settings").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("pointerup", () => {
  const { activeElement } = document;
  if (activeElement.type === "range") activeElement.blur(); // the arrows are keys of the game
});
document.addEventListener("keydown", press);
document.addEventListener("keyup", lift);
window.addEventListener("blur", release);

const names = await (await fetch("runs")).json();
$("tabs").append(...names.map((name, number) => {
  const tab = document.createElement("button");
  Object.assign(tab, { role: "tab", textContent: name });
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", "panel");
  tab.dataset.number = number;
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const next = { ArrowRight: tab.nextSibling, ArrowLeft: tab.previousSibling }[key];
    if (next && !current?.moment?.state.human) { next.focus(); select(next); }
  });
  return tab;
}));
select($("tabs").children[Number(location.hash.slice(1))] || $("tabs").firstChild);
requestAnimationFrame(frame);
