// One picture, large, with all that is known of it and all that can be done with it.

import {byId, copy, credits, dollars, made, say, show} from "./common.js";
import {edit, fill, upscale} from "./form.js";
import {cards, describe, favourite, isShown, isVideo, remove, source, visible} from "./gallery.js";

const box = byId("lightbox");
const HASH = "#picture-";
const SURE_MS = 5000;

let current = null;
let aspect = 1;
// Of the address with which the page was opened, until that picture is there.
let wanted = location.hash.startsWith(HASH) ? location.hash.slice(HASH.length) : "";

function showDetails() {
  const card = current && cards.get(current.id);
  if (!card) return;
  current = card.picture;
  const order = visible();
  const place = order.findIndex((each) => each.id === current.id);
  show(byId("place"), place < 0 ? "" : `${place + 1} of ${order.length}`);
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place >= order.length - 1;
  show(byId("details-prompt"), current.prompt || "No prompt");
  const media = byId("stage").firstElementChild;
  const width = media ? media.naturalWidth || media.videoWidth : 0;
  const height = media ? media.naturalHeight || media.videoHeight : 0;
  const rows = [["Model", current.model], ["Seed", current.seed === null ? "not reported" : current.seed]];
  if (width) {
    aspect = width / height;
    rows.push(["Size", `${width} × ${height} px`]);
  }
  if (current.cost !== null) rows.push(["Cost", `${credits(current.cost)} (${dollars(current.cost)})`]);
  if (current.seconds !== null) rows.push(["Time", `${current.seconds} s`]);
  byId("details").replaceChildren(...rows.map(([name, value]) => {
    const row = made("div");
    row.append(made("dt", "", name), made("dd", "", value));
    return row;
  }));
  byId("mark").setAttribute("aria-pressed", String(current.favourite));
  show(byId("mark"), current.favourite ? "★ Favourite" : "☆ Favourite");
  byId("copy-seed").hidden = current.seed === null;
  show(byId("upscale"), current.draft ? "Finish draft" : "Upscale");
  byId("download").href = source(current);
}

export function open(id) {
  const card = cards.get(id);
  if (!card || !isShown(card.picture)) return;
  current = card.picture;
  wanted = "";
  const media = made(isVideo(current) ? "video" : "img");
  if (isVideo(current)) {
    media.controls = true;
    media.setAttribute("aria-label", describe(current));
    media.addEventListener("loadedmetadata", showDetails);
  } else {
    media.alt = describe(current);
    media.addEventListener("load", showDetails);
  }
  media.src = source(current);
  byId("stage").replaceChildren(media);
  byId("lightbox-news").textContent = "";
  unsure();
  showDetails();
  history.replaceState(null, "", HASH + current.id);
  if (!box.open) {
    box.showModal();
    byId("close").focus();
  }
}

function move(step) {
  const order = visible();
  const place = order.findIndex((each) => each.id === current.id);
  const next = order[step === -Infinity ? 0 : step === Infinity ? order.length - 1 : place + step];
  if (!next) return;
  open(next.id);
  // A button at the end is disabled, and would take the focus with it.
  if (document.activeElement === document.body || document.activeElement.disabled) byId("close").focus();
  say(`${byId("place").textContent}: ${describe(current).slice(0, 80)}`);
}

// --- deleting asks once more, in the button itself

let sure = 0;
let deleting = false;

function unsure() {
  clearTimeout(sure);
  sure = 0;
  show(byId("delete"), "Delete");
}

async function deleteCurrent() {
  if (!sure) {
    sure = setTimeout(unsure, SURE_MS);
    show(byId("delete"), "Delete for good?");
    byId("delete").focus();
    say("Press again to delete this picture and its file.");
    return;
  }
  unsure();
  const gone = current;
  const order = visible();
  const place = order.findIndex((each) => each.id === gone.id);
  const next = order[place + 1] || order[place - 1];
  deleting = true;
  try {
    await remove(gone);
  } catch (error) {
    say(error.message);
    return;
  } finally {
    deleting = false;
  }
  if (next && box.open) {
    open(next.id);
    say("Deleted. The next picture is shown.");
  } else box.close();
}

// --- wiring

const leave = (act) => () => {
  const picture = current;
  box.close();
  act(picture);
};

byId("close").addEventListener("click", () => box.close());
byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("mark").addEventListener("click", () => favourite(current));
byId("edit").addEventListener("click", leave(edit));
byId("upscale").addEventListener("click", leave((picture) => upscale(picture, aspect)));
byId("again").addEventListener("click", leave((picture) => {
  // The same picture, not only the same words.
  const seed = picture.seed === null ? {} : {seed: picture.seed};
  fill({...picture.wish, ...seed});
}));
byId("copy-prompt").addEventListener("click", () => copy(current.prompt, "Prompt"));
byId("copy-seed").addEventListener("click", () => copy(current.seed, "Seed"));
byId("copy-link").addEventListener("click", () => copy(`${location.origin}/${HASH}${current.id}`, "Link"));
byId("delete").addEventListener("click", deleteCurrent);
box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
box.addEventListener("close", () => {
  const card = current && cards.get(current.id);
  current = null;
  unsure();
  byId("stage").replaceChildren();
  history.replaceState(null, "", location.pathname);
  const tile = card && !card.card.hidden && card.card.querySelector("button");
  // The browser gave the focus back to the tile that was opened first. Where an action moved it, it stays there.
  const active = document.activeElement;
  if (!active || active === document.body || active.matches(".open")) (tile || byId("prompt")).focus();
});

const KEYS = {
  ArrowLeft: () => move(-1), ArrowRight: () => move(1), Home: () => move(-Infinity), End: () => move(Infinity),
  f: () => favourite(current), Delete: deleteCurrent,
};
box.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "VIDEO") return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || !current) return;
  event.preventDefault();
  act();
});

document.addEventListener("open-picture", (event) => open(event.detail));
document.addEventListener("picture-changed", ({detail}) => {
  if (detail.id === wanted && isShown(detail)) open(detail.id);
  else if (current && box.open) showDetails();
});
document.addEventListener("picture-gone", ({detail}) => {
  if (current && current.id === detail && box.open && !deleting) box.close();
});
addEventListener("hashchange", () => {
  if (location.hash.startsWith(HASH)) open(location.hash.slice(HASH.length));
});
