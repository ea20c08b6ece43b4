"use strict";
const byId = (id) => document.getElementById(id);
const MOST_PICTURES = 300;

// Prompts come from strangers: texts are only ever set as textContent.
const made = (tag, className = "", text = "") => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
};
const show = (element, text) => { if (element.textContent !== text) element.textContent = text; };

async function ask(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("The studio cannot be reached. Try again in a moment.");
  }
  const data = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(typeof data.detail === "string" ? data.detail : "That did not work. Try again.");
  return data;
}

// --- pictures

const cards = new Map();  // by the picture's id

function makeCard(picture) {
  const card = made("li", "picture");
  card.dataset.number = picture.number;
  const frame = made("div", "frame");
  const below = made("div", "below");
  const prompt = made("p", "prompt", picture.prompt);
  prompt.title = picture.prompt;
  const facts = made("p", "facts quiet");
  const actions = made("div", "actions");
  const again = made("button", "", "Use again");
  again.type = "button";
  again.setAttribute("aria-label", `Use again: ${picture.prompt.slice(0, 80)}`);
  again.addEventListener("click", () => {
    byId("prompt").value = picture.prompt;
    byId("model").value = picture.model;
    byId("prompt").focus();
  });
  const withdraw = made("button", "", "Withdraw");
  withdraw.type = "button";
  withdraw.setAttribute("aria-label", `Withdraw: ${picture.prompt.slice(0, 80)}`);
  withdraw.addEventListener("click", () => {
    ask(`/pictures/${picture.id}`, {method: "DELETE"}).then(() => {
      // The button goes, and with it the focus; who is elsewhere by now stays there.
      if ([withdraw, document.body].includes(document.activeElement)) again.focus();
    }, tell);
  });
  const keep = made("a", "", "Download");
  keep.href = `/pictures/${picture.id}/image`;
  keep.download = "";
  keep.setAttribute("aria-label", `Download: ${picture.prompt.slice(0, 80)}`);
  actions.append(again, withdraw, keep);
  below.append(prompt, facts, actions);
  card.append(frame, below);
  // The newest first, whatever the order in which they were heard of.
  const list = byId("pictures");
  const after = [...list.children].find((other) => Number(other.dataset.number) < picture.number);
  list.insertBefore(card, after || null);
  const made_ = {card, frame, facts, withdraw, keep, state: "", going: null};
  cards.set(picture.id, made_);
  while (list.children.length > MOST_PICTURES) {
    const oldest = list.lastElementChild;
    oldest.remove();
    for (const [id, other] of cards) if (other.card === oldest) cards.delete(id);
  }
  return made_;
}

function words(picture) {
  switch (picture.state) {
    case "queued": return picture.position ? `Waiting, ${picture.position} before it` : "Waiting, next in line";
    case "submitting": return "Being sent";
    case "submitted": {
      const status = picture.status || "Accepted";
      return picture.progress === null ? status : `${status}, ${Math.round(100 * picture.progress)} %`;
    }
    case "saving": return "Being fetched";
  }
  return "";
}

function showPicture(picture) {
  const card = cards.get(picture.id) || makeCard(picture);
  const credits = picture.cost === null ? "" : ` · ${amount(picture.cost)} credits`;
  show(card.facts, `${picture.model}${credits}`);
  card.withdraw.hidden = picture.state !== "queued";
  card.keep.hidden = picture.state !== "saved";
  const changed = picture.state !== card.state;
  card.state = picture.state;
  card.card.dataset.state = picture.state;
  if (picture.state === "saved") {
    if (changed) showImage(card, picture);
  } else if (picture.state === "failed") {
    if (changed) card.frame.replaceChildren(made("p", "problem", picture.problem));
    card.going = null;
  } else {
    showGoing(card, picture);
  }
  if (changed && picture.state === "saved" && watched.has(picture.id)) say(`Drawn: ${picture.prompt.slice(0, 80)}`);
  if (changed && picture.state === "failed" && watched.has(picture.id)) say(`${picture.problem} ${picture.prompt.slice(0, 80)}`);
  byId("empty").hidden = true;
}

function showImage(card, picture) {
  const image = made("img");
  image.alt = picture.prompt;
  image.loading = "lazy";
  image.src = `/pictures/${picture.id}/image`;
  const link = made("a");
  link.href = image.src;
  link.target = "_blank";
  link.rel = "noopener";
  link.append(image);
  card.going = null;
  card.frame.replaceChildren(link);
}

function showGoing(card, picture) {
  if (!card.going) {
    const bar = made("progress");
    bar.setAttribute("aria-label", "Progress");
    const text = made("p", "quiet");
    const going = made("div", "going");
    going.append(bar, text);
    card.going = {bar, text};
    card.frame.replaceChildren(going);
  }
  const {bar, text} = card.going;
  show(text, words(picture));
  const share = picture.state === "queued" ? 0 : picture.state === "submitted" ? picture.progress : null;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

// --- what is going on

const amount = (value) => Number(value).toLocaleString("en", {maximumFractionDigits: 2});
const watched = new Set();  // ids that this tab asked for: their ends are spoken

const say = (text) => { byId("news").textContent = text; };
const tell = (error) => { byId("message").textContent = error ? error.message : ""; };

function showAccount(account) {
  show(byId("running"), `${account.running} of ${account.limit}`);
  show(byId("queued"), String(account.queued));
  const dollars = (account.credits / 100).toLocaleString("en", {minimumFractionDigits: 2, maximumFractionDigits: 3});
  show(byId("spent"), `${amount(account.credits)} credits ($${dollars})`);
}

// One stream a page, and none while the page is hidden: a browser has six connections to a host for all its tabs.
let stream = null;
let lastId = "";

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource(lastId ? `/events?after=${encodeURIComponent(lastId)}` : "/events");
  stream.addEventListener("picture", (event) => {
    lastId = event.lastEventId;
    showPicture(JSON.parse(event.data));
  });
  stream.addEventListener("account", (event) => showAccount(JSON.parse(event.data)));
  stream.addEventListener("reset", () => {
    cards.clear();
    byId("pictures").replaceChildren();
    byId("empty").hidden = false;
  });
  stream.addEventListener("open", () => { if (lost) { lost = false; tell(null); } });
  stream.addEventListener("error", () => {
    lost = true;
    tell(new Error("The connection is lost; it is tried again."));
    if (stream && stream.readyState === EventSource.CLOSED) {  // the server said no: the browser does not retry
      quiet();
      setTimeout(listen, 2000);
    }
  });
}
let lost = false;

function quiet() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => { if (document.hidden) quiet(); else listen(); });
addEventListener("pagehide", quiet);
addEventListener("pageshow", listen);

// --- asking for one

byId("wish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const prompt = byId("prompt").value.trim();
  if (!prompt) {
    tell(new Error("Say what shall be drawn."));
    byId("prompt").focus();
    return;
  }
  tell(null);
  try {
    const picture = await ask("/pictures", {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify({model: byId("model").value, prompt}),
    });
    watched.add(picture.id);
    if (!cards.has(picture.id)) showPicture(picture);
    say("Waiting to be drawn.");
    // What was typed meanwhile is the next wish, and stays.
    if (byId("prompt").value.trim() === prompt) byId("prompt").value = "";
    byId("prompt").focus();
  } catch (error) {
    tell(error);
  }
});

byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    byId("wish").requestSubmit();
  }
});

listen();
