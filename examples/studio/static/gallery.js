// The pictures as tiles, newest first, and which of them are shown.

import {ask, brief, button, byId, credits, made, say, show, tell} from "./common.js";
import {fill, ratioOf} from "./form.js";

export const cards = new Map();  // by the picture's id
export const watched = new Set();  // ids that this tab asked for: their ends are spoken
const SHOWN = [".jpg", ".jpeg", ".png", ".webp", ".mp4"];

export const opened = (id) => document.dispatchEvent(new CustomEvent("open-picture", {detail: id}));
export const isShown = (picture) => picture.state === "saved" && SHOWN.includes(picture.suffix);
export const isVideo = (picture) => picture.suffix === ".mp4";
export const source = (picture) => `/pictures/${picture.id}/image`;
export const describe = (picture) => picture.prompt || `Picture of ${picture.model}`;

// --- tiles

function makeCard(picture) {
  const card = made("li", "picture");
  card.dataset.number = picture.number;
  const frame = made("div", "frame");
  const star = button("☆", `Favourite: ${brief(describe(picture))}`, () => favourite(cards.get(picture.id).picture));
  star.classList.add("star");
  const below = made("div", "below");
  const prompt = made("p", "prompt", picture.prompt);
  prompt.title = picture.prompt;
  const facts = made("p", "facts quiet");
  const actions = made("div", "actions");
  below.append(prompt, facts, actions);
  card.append(frame, star, below);
  // The newest first, whatever the order in which they were heard of.
  const list = byId("pictures");
  const after = [...list.children].find((other) => Number(other.dataset.number) < picture.number);
  list.insertBefore(card, after || null);
  const made_ = {card, frame, facts, actions, star, picture, state: "", going: null, heard: 0};
  cards.set(picture.id, made_);
  shape(made_, guess(picture));
  return made_;
}

const shape = (card, ratio) => card.card.style.setProperty("--ratio", Math.min(3, Math.max(0.5, ratio)));

function guess(picture) {
  const {width, height, ratio} = picture.wish;
  return width && height ? width / height : ratioOf(ratio) || 4 / 3;
}

const DRAWING = {Reasoning: "Thinking about the prompt"};

function words(card) {
  const {picture, heard} = card;
  switch (picture.state) {
    case "queued": return picture.position ? `Waiting, ${picture.position} before it` : "Waiting, next in line";
    case "submitting": return "Sending";
    case "submitted": {
      const doing = DRAWING[picture.status] || "Drawing";
      const seconds = Math.floor((picture.seconds || 0) + (performance.now() - heard) / 1000);
      const share = picture.progress === null ? "" : `, ${Math.round(100 * picture.progress)} %`;
      return `${doing}${share}, ${seconds} s`;
    }
    case "saving": return "Downloading";
  }
  return "";
}

export function showPicture(picture) {
  const card = cards.get(picture.id) || makeCard(picture);
  card.picture = picture;
  card.heard = performance.now();
  const facts = [picture.model];
  if (picture.cost !== null) facts.push(credits(picture.cost));
  show(card.facts, facts.join(" · "));
  card.star.hidden = picture.state !== "saved";
  card.star.textContent = picture.favourite ? "★" : "☆";
  card.star.setAttribute("aria-pressed", String(picture.favourite));
  const changed = picture.state !== card.state;
  card.state = picture.state;
  card.card.dataset.state = picture.state;
  if (changed) showActions(card);
  if (picture.state === "saved") {
    if (changed) showImage(card);
  } else if (picture.state === "failed") {
    if (changed) card.frame.replaceChildren(made("p", "problem", picture.problem));
    card.going = null;
  } else {
    showGoing(card);
  }
  if (changed && watched.has(picture.id)) {
    if (picture.state === "saved") say(`Drawn: ${brief(describe(picture))}`);
    if (picture.state === "failed") say(`${picture.problem} ${brief(picture.prompt)}`);
  }
  filter();
  document.dispatchEvent(new CustomEvent("picture-changed", {detail: picture}));
}

function showActions(card) {
  const {picture} = card;
  const name = brief(describe(picture));
  const had = card.actions.contains(document.activeElement);
  const again = button("Use again", `Use again: ${name}`, () => fill(picture.wish));
  const buttons = [];
  if (picture.state === "queued") {
    buttons.push(button("Cancel", `Cancel: ${name}`, () => {
      ask(`/pictures/${picture.id}/cancel`, "POST", {}).catch(tell);
    }));
  } else if (picture.state === "failed") {
    buttons.push(again, button("Delete", `Delete: ${name}`, () => remove(picture).catch(tell)));
  } else if (picture.state === "saved" && !isShown(picture)) {
    const keep = made("a", "", "Download");
    keep.href = source(picture);
    keep.download = "";
    keep.setAttribute("aria-label", `Download: ${name}`);
    buttons.push(keep, again);
  }
  card.actions.replaceChildren(...buttons);
  // The button that was pressed is gone; who is elsewhere by now stays there.
  if (had && buttons.length) buttons[0].focus();
}

function showImage(card) {
  const {picture} = card;
  card.going = null;
  if (!isShown(picture)) {
    card.frame.replaceChildren(made("p", "problem", "This file can only be downloaded."));
    return;
  }
  const open = button("", `Open: ${brief(describe(picture))}`, () => opened(picture.id));
  open.classList.add("open");
  const media = made(isVideo(picture) ? "video" : "img");
  if (isVideo(picture)) {
    media.muted = true;
    media.preload = "metadata";
    media.addEventListener("loadedmetadata", () => {
      if (media.videoWidth) shape(card, media.videoWidth / media.videoHeight);
    });
  } else {
    media.alt = describe(picture);
    media.loading = "lazy";
    media.addEventListener("load", () => shape(card, media.naturalWidth / media.naturalHeight));
  }
  media.src = source(picture);
  open.append(media);
  if (isVideo(picture)) open.append(made("span", "badge", "Video"));
  card.frame.replaceChildren(open);
}

function showGoing(card) {
  const {picture} = card;
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
  show(text, words(card));
  const share = picture.state === "queued" ? 0 : picture.state === "submitted" ? picture.progress : null;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

// Seconds go on between two messages.
setInterval(() => {
  for (const card of cards.values()) if (card.going) show(card.going.text, words(card));
}, 1000);

export function forget(id) {
  const card = cards.get(id);
  if (!card) return;
  const had = card.card.contains(document.activeElement);
  const next = card.card.nextElementSibling || card.card.previousElementSibling;
  card.card.remove();
  cards.delete(id);
  filter();
  if (had) ((next && next.querySelector("button")) || byId("prompt")).focus();
  document.dispatchEvent(new CustomEvent("picture-gone", {detail: id}));
}

export function forgetAll() {
  cards.clear();
  byId("pictures").replaceChildren();
  filter();
}

// --- what is done with one

export const favourite = (picture) =>
  ask(`/pictures/${picture.id}`, "PATCH", {favourite: !picture.favourite}).then((now) => {
    showPicture(now);
    say(now.favourite ? "Added to the favourites." : "Taken out of the favourites.");
  }).catch(tell);

export async function remove(picture) {
  await ask(`/pictures/${picture.id}`, "DELETE");
  forget(picture.id);
  say("Deleted.");
}

// --- which are shown

const onlyFavourites = () => byId("favourites").getAttribute("aria-pressed") === "true";

function matches(picture, query) {
  if (onlyFavourites() && !picture.favourite) return false;
  const text = `${picture.prompt} ${picture.model} ${picture.seed === null ? "" : picture.seed}`.toLowerCase();
  return query.every((word) => text.includes(word));
}

export function filter() {
  const query = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const {card, picture} of cards.values()) {
    card.hidden = !matches(picture, query);
    if (!card.hidden) count += 1;
  }
  const all = cards.size;
  const isNarrow = query.length > 0 || onlyFavourites();
  byId("empty").hidden = all > 0;
  byId("nothing").hidden = !(all > 0 && count === 0);
  show(byId("count"), !all ? "" : isNarrow ? `${count} of ${all}` : String(all));
}

// Pictures that the lightbox can show, in the order of the page.
export const visible = () => [...cards.values()]
  .filter(({card, picture}) => !card.hidden && isShown(picture))
  .map(({picture}) => picture)
  .sort((a, b) => b.number - a.number);

byId("search").addEventListener("input", filter);
byId("favourites").addEventListener("click", () => {
  byId("favourites").setAttribute("aria-pressed", String(!onlyFavourites()));
  filter();
});
byId("clear").addEventListener("click", () => {
  byId("search").value = "";
  byId("favourites").setAttribute("aria-pressed", "false");
  filter();
  byId("search").focus();
});
