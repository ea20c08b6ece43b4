// The form: what can be set for the chosen model, which images go with it, and what it costs.

import {amount, ask, button, byId, credits, dollars, made, say, show, tell} from "./common.js";

const ENTRIES = new Map(JSON.parse(byId("entries").textContent).map((entry) => [entry.id, entry]));
const EDITOR = "flux-2-pro";
const VIDEO_UPSCALER = "flux-tools/video-upscale-v1";
const FILE_MAX_BYTES = 20 * 1024 * 1024;
const KINDS = {"image/jpeg": "image", "image/png": "image", "image/webp": "image", "video/mp4": "video"};
const LABELS = {
  input_image: "Images to edit", images: "Images to edit", image_prompt: "Image to be guided by", keyframes: "Frames",
  image: "Image", mask: "Mask: white is what changes", start_video: "Video to continue", input_video: "Video",
  draft_cache: "Draft video", disable_pup: "Send the prompt as it is", prompt_upsampling: "Let BFL rewrite the prompt",
  safety_tolerance: "Safety tolerance (0 is the strictest)", output_format: "File format", generate_audio: "With sound",
  draft: "Draft: cheaper, to be finished later", raw: "Less processed look", duration: "Seconds",
};
const CUSTOM = "custom";

const label = (name) => LABELS[name] || (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
const entry = () => ENTRIES.get(byId("model").value);

// --- images and videos that go with the wish, in the order in which they came

let attached = [];  // {id, url, name, kind, slot, sending}; `id` is null while it is being sent

function slotOf(item, taken) {
  const fits = (slot) =>
    (slot.kind === item.kind || (slot.kind === "draft" && item.draft)) && (taken.get(slot) || 0) < slot.most;
  const slots = entry().slots;
  return slots.find((slot) => slot.fields[0] === item.slot && fits(slot)) || slots.find(fits);
}

function bySlot() {
  const placed = new Map(entry().slots.map((slot) => [slot, []]));
  const left = [];
  const counts = new Map();
  for (const item of attached) {
    const slot = slotOf(item, counts);
    if (!slot) left.push(item);
    else {
      counts.set(slot, (counts.get(slot) || 0) + 1);
      placed.get(slot).push(item);
    }
  }
  return {placed, left};
}

const base64 = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
  reader.readAsDataURL(file);
});

export function addFiles(files, slot = "") {
  tell(null);
  for (const file of files) {
    const kind = KINDS[file.type];
    if (!kind) {
      tell(new Error(`${file.name || "This"} cannot be used. Add a JPEG, PNG or WebP image, or an MP4 video.`));
    } else if (file.size > FILE_MAX_BYTES) {
      tell(new Error(`${file.name} is larger than 20 MB.`));
    } else {
      attach({id: null, url: URL.createObjectURL(file), name: file.name || "pasted image", kind, slot}, file);
    }
  }
}

function attach(item, file = null) {
  attached.push(item);
  if (!bySlot().placed.size || bySlot().left.includes(item)) {
    const need = item.kind === "image" ? "image" : "video";
    const full = entry().slots.some((slot) => slot.kind === need);
    if (full) {
      attached.pop();
      tell(new Error(`${entry().id} takes no more ${need}s.`));
      return;
    }
    // The chosen model takes none: one that does is chosen, and that is said.
    const other = [...ENTRIES.values()].find((each) => each.slots.some((slot) => slot.kind === need));
    choose(need === "image" ? EDITOR : other.id);
    say(`Model changed to ${entry().id}, which takes ${need}s.`);
  }
  if (file) {
    item.sending = base64(file)
      .then((data) => ask("/inputs", "POST", {data}))
      .then((reply) => { item.id = reply.id; changed(); return true; })
      .catch((error) => { detach(item); tell(error); return false; });
  }
  showSlots();
  changed();
  say(`Added: ${item.name}`);
}

function detach(item) {
  attached = attached.filter((other) => other !== item);
  if (item.url.startsWith("blob:")) URL.revokeObjectURL(item.url);
  showSlots();
  changed();
}

function thumbnail(item, title) {
  const box = made("li", "thumb");
  const media = made(!item.url ? "span" : item.kind === "image" ? "img" : "video");
  if (!item.url) media.textContent = item.name;
  else media.src = item.url;
  if (media.localName === "img") media.alt = item.name;
  if (media.localName === "video") { media.muted = true; media.setAttribute("aria-label", item.name); }
  const remove = button("×", `Remove ${item.name}`, () => {
    detach(item);
    const input = [...byId("slots").querySelectorAll("input")].find((each) => each.dataset.title === title);
    (input || byId("prompt")).focus();
  });
  box.append(media, remove);
  return box;
}

function adder(slot, title) {
  const wrap = made("label", "drop");
  const input = made("input", "unseen");
  input.type = "file";
  input.accept = slot.kind === "image" ? "image/jpeg,image/png,image/webp" : "video/mp4";
  input.multiple = slot.most > 1;
  input.dataset.title = title;
  input.dataset.slot = slot.fields[0];
  input.setAttribute("aria-label", `Add: ${title}`);
  input.addEventListener("change", () => { addFiles([...input.files], slot.fields[0]); });
  wrap.append(made("span", "", `Drop, paste or choose ${slot.kind === "video" ? "a video" : slot.most > 1 ? "images" : "an image"}`), input);
  for (const [type, on] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    wrap.addEventListener(type, () => wrap.classList.toggle("over", on));
  }
  wrap.dataset.slot = slot.fields[0];
  return wrap;
}

function showSlots() {
  const focused = document.activeElement && document.activeElement.dataset.title;
  const {placed, left} = bySlot();
  const boxes = [...placed].map(([slot, items]) => {
    const title = label(slot.fields[0]);
    const box = made("div", "field");
    const bound = slot.most > 1 ? ` (up to ${slot.most})` : slot.required ? "" : " (optional)";
    box.append(made("p", "title", title + bound));
    if (items.length) {
      const list = made("ul", "thumbs");
      list.setAttribute("aria-label", title);
      list.append(...items.map((item) => thumbnail(item, title)));
      box.append(list);
    }
    if (slot.kind === "draft") {
      if (!items.length) box.append(made("p", "quiet", "Open a draft video and press Finish draft."));
    } else if (items.length < slot.most) box.append(adder(slot, title));
    return box;
  });
  if (left.length) {
    const files = left.length === 1 ? "1 file is" : `${left.length} files are`;
    boxes.push(made("p", "quiet field", `${files} not used: this model does not take more.`));
  }
  byId("slots").replaceChildren(...boxes);
  const same = focused && [...byId("slots").querySelectorAll("input")].find((each) => each.dataset.title === focused);
  if (same) same.focus();
}

// --- fields of the model

function chip(value, text, ratio = 0) {
  const wrap = made("label", "chip");
  const input = made("input");
  input.type = "radio";
  input.name = "ratio";
  input.value = value;
  wrap.append(input);
  if (ratio) {
    const icon = made("i", "shape");
    icon.style.setProperty("--ratio", ratio);
    wrap.append(icon);
  }
  wrap.append(made("span", "", text));
  return wrap;
}

export const ratioOf = (text) => {
  const [wide, high] = String(text).split(":").map(Number);
  return wide > 0 && high > 0 ? wide / high : 0;
};

const ratio = () => {
  const chosen = document.querySelector("input[name=ratio]:checked");
  return chosen ? chosen.value : "";
};

function showShapes(wanted) {
  const {ratios, has_sides, needs_sides} = entry();
  const shaped = ratios.filter((each) => each !== "auto").sort((a, b) => ratioOf(b) - ratioOf(a));
  const chips = needs_sides ? [] : [chip("", "Default")];
  chips.push(...shaped.map((each) => chip(each, each, ratioOf(each))));
  if (has_sides) chips.push(chip(CUSTOM, "Custom"));
  byId("ratios").replaceChildren(...chips);
  byId("shapes").hidden = chips.length < 2;
  const inputs = [...byId("ratios").querySelectorAll("input")];
  const chosen = inputs.find((input) => input.value === wanted) || inputs[0];
  if (chosen) chosen.checked = true;
}

function showSizes(wanted) {
  const {megapixels, settings} = entry();
  const resolution = settings.find((each) => each.name === "resolution");
  const options = megapixels.length
    ? megapixels.map((each) => [String(each), `${amount(each)} MP`])
    : resolution ? resolution.choices.map((each) => [each, each.toUpperCase()]) : [];
  const usual = resolution && resolution.default ? `Default (${resolution.default.toUpperCase()})` : "Default";
  byId("size").replaceChildren(...[["", usual], ...options].map(([value, text]) => {
    const option = made("option", "", text);
    option.value = value;
    return option;
  }));
  byId("size").value = options.some(([value]) => value === wanted) ? wanted : "";
}

function control(setting) {
  const wrap = made("div", "setting");
  const title = made("label", "", label(setting.name));
  title.htmlFor = `set-${setting.name}`;
  let input;
  if (setting.kind === "choice" || setting.kind === "switch") {
    input = made("select");
    const name = (value) => (value === true ? "on" : value === false ? "off" : String(value));
    const usual = setting.default === null ? "Default" : `Default (${name(setting.default)})`;
    for (const value of [null, ...(setting.kind === "switch" ? [true, false] : setting.choices)]) {
      const option = made("option", "", value === null ? usual : name(value));
      option.value = value === null ? "" : JSON.stringify(value);
      input.append(option);
    }
  } else {
    input = made("input");
    input.type = setting.kind === "text" ? "text" : "number";
    if (setting.kind !== "text") {
      if (setting.least !== null) input.min = setting.least;
      if (setting.most !== null) input.max = setting.most;
      input.step = setting.step || (setting.kind === "whole" ? 1 : "any");
    }
    input.maxLength = 300;
    input.placeholder = setting.default === null ? "" : String(setting.default);
  }
  input.id = `set-${setting.name}`;
  input.dataset.setting = setting.name;
  input.dataset.kind = setting.kind;
  wrap.append(title, input);
  if (setting.least !== null && setting.most !== null) {
    const range = made("p", "quiet", `${amount(setting.least)} to ${amount(setting.most)}`);
    range.id = `range-${setting.name}`;
    input.setAttribute("aria-describedby", range.id);
    wrap.append(range);
  }
  return wrap;
}

function showSettings(values) {
  const settings = entry().settings.filter((each) => each.name !== "resolution");
  byId("settings").replaceChildren(...settings.map(control));
  byId("more").hidden = !settings.length;
  for (const input of byId("settings").querySelectorAll("[data-setting]")) {
    const value = values[input.dataset.setting];
    if (value === undefined) continue;
    input.value = ["choice", "switch"].includes(input.dataset.kind) ? JSON.stringify(value) : value;
    if (input.selectedIndex === -1) input.value = "";
  }
  // What must be given is not hidden behind a click.
  if (settings.some((each) => each.required) || Object.keys(values).length) byId("more").open = true;
}

function settingValues() {
  const values = {};
  for (const input of byId("settings").querySelectorAll("[data-setting]")) {
    if (input.value === "") continue;
    const {setting, kind} = input.dataset;
    values[setting] = kind === "text" ? input.value : JSON.parse(input.value);
  }
  if (byId("size").value && !entry().megapixels.length) values.resolution = byId("size").value;
  return values;
}

function showModel(given = {}) {
  const chosen = entry();
  const {ratio: wanted = ratio(), size = byId("size").value, settings = settingsKept()} = given;
  show(byId("about"), `${chosen.about}${chosen.note ? ` ${chosen.note}` : ""}`);
  byId("prompt").disabled = !chosen.prompt;
  byId("prompt").placeholder = chosen.prompt ? "A lighthouse in a storm, oil on canvas" : "This model takes no prompt";
  byId("seed-field").hidden = !chosen.has_seed;
  showShapes(wanted);
  showSizes(size);
  showSettings(settings);
  showSlots();
  changed();
}

const settingsKept = () => (byId("settings").childElementCount ? settingValues() : {});

export function choose(id) {
  byId("model").value = id;
  showModel();
}

// --- the wish

export const variations = () => Number(document.querySelector("input[name=variations]:checked").value);

export function wish() {
  const chosen = entry();
  const made_ = {model: chosen.id, prompt: chosen.prompt ? byId("prompt").value.trim() : "", settings: settingValues()};
  if (chosen.has_seed && byId("seed").value !== "") made_.seed = byId("seed").value;
  const shape = ratio();
  if (shape === CUSTOM) {
    if (byId("width").value) made_.width = Number(byId("width").value);
    if (byId("height").value) made_.height = Number(byId("height").value);
  } else if (shape) made_.ratio = shape;
  if (shape !== CUSTOM && byId("size").value && chosen.megapixels.length) made_.megapixels = Number(byId("size").value);
  made_.images = {};
  for (const [slot, items] of bySlot().placed) {
    const ids = items.map((item) => item.id).filter((id) => id);
    if (ids.length) made_.images[slot.fields[0]] = ids;
  }
  return made_;
}

// Waits until the server has all files; false where one was refused: without it something else would be drawn.
export const uploads = async () => !(await Promise.all(attached.map((item) => item.sending))).includes(false);

// Fills the form with a wish that was made before.
export function fill(old) {
  byId("model").value = old.model;
  if (old.prompt) byId("prompt").value = old.prompt;
  byId("seed").value = old.seed || "";
  byId("width").value = old.width || "";
  byId("height").value = old.height || "";
  for (const item of attached) if (item.url.startsWith("blob:")) known.set(item.id, item);
  attached = Object.entries(old.images || {}).flatMap(([slot, ids]) => ids.map((id) => ({
    ...(known.get(id) || {id, url: sourceOf(id), name: `added ${kindOf(slot)}`, kind: kindOf(slot)}),
    slot, draft: slot === "draft_cache",
  })));
  const settings = old.settings || {};
  const size = old.megapixels === undefined ? settings.resolution || "" : String(old.megapixels);
  showModel({ratio: old.width ? CUSTOM : old.ratio || "", size, settings});
  tell(null);
  byId("prompt").focus();
}
const known = new Map();  // files of this page by their ids: the server does not send them back
const sourceOf = (id) => (/^[0-9a-f]{32}$/.test(id) ? "" : `/pictures/${encodeURIComponent(id)}/image`);
const kindOf = (slot) => (slot.includes("video") || slot === "draft_cache" ? "video" : "image");

function only(picture, model) {
  attached = [];
  choose(model);
  const kind = picture.suffix === ".mp4" ? "video" : "image";
  const url = `/pictures/${picture.id}/image`;
  attach({id: picture.id, url, name: picture.prompt.slice(0, 80) || "picture", kind, slot: "", draft: picture.draft});
}

// Puts a picture into the form, to be edited by words.
export function edit(picture) {
  const isVideo = picture.suffix === ".mp4";
  const takes = entry().prompt && entry().slots.some((slot) => slot.kind === "image");
  only(picture, isVideo ? "flux-tools/video-edit-v1" : takes ? entry().id : EDITOR);
  byId("prompt").value = "";
  byId("prompt").placeholder = "What should change?";
  byId("prompt").focus();
}

// Prepares a larger version; the price is seen before it is sent.
export function upscale(picture, aspect) {
  if (picture.suffix === ".mp4") {
    only(picture, picture.draft ? "flux-3-video#draft_enhance" : VIDEO_UPSCALER);
    byId("draw").focus();
    return;
  }
  only(picture, EDITOR);
  byId("prompt").value = "The same picture in higher resolution, with finer detail. Change nothing else.";
  const step = 16;
  const wide = Math.floor(Math.sqrt(4 * 1024 * 1024 * aspect) / step) * step;
  showModel({ratio: CUSTOM});
  byId("width").value = wide;
  byId("height").value = Math.floor(wide / aspect / step) * step;
  changed();
  byId("draw").focus();
}

// --- the price

let timer = 0;
let asking = null;

export function changed() {
  byId("sides").hidden = ratio() !== CUSTOM;
  byId("size-field").hidden = byId("size").length < 2 || (ratio() === CUSTOM && entry().megapixels.length > 0);
  clearTimeout(timer);
  timer = setTimeout(showPrice, 150);
}

async function showPrice() {
  if (asking) asking.abort();
  const mine = asking = new AbortController();
  const count = variations();
  try {
    // The prompt does not change the price, and is not there yet.
    const priced = {...wish(), prompt: entry().prompt ? "x" : ""};
    const {problem, credits: each, basis, size} = await ask("/price", "POST", priced, mine.signal);
    if (problem) throw new Error(problem);
    const floor = basis.startsWith("at least") ? "At least " : "";
    const many = count > 1 ? ` for ${count}` : "";
    const px = size ? ` · ${size[0]} × ${size[1]} px` : "";
    const price = each === null
      ? "Price not known before it is sent"
      : `${floor}${credits(each * count)} (${dollars(each * count)})${many}`;
    show(byId("price"), price + px);
    // How it was computed matters where it is not certain.
    byId("price").title = basis;
    show(byId("basis"), each === null || floor || basis.includes("unknown size") ? basis : "");
    byId("price").dataset.state = "known";
  } catch (error) {
    if (mine.signal.aborted) return;
    show(byId("price"), error.message);
    show(byId("basis"), "");
    byId("price").dataset.state = "unknown";
  }
}

// --- wiring

byId("wish").addEventListener("input", (event) => {
  if (event.target.id === "prompt") return;
  if (event.target.id === "model") showModel();
  else changed();
});

const isFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!isFiles(event)) return;
  event.preventDefault();
  const zone = event.target.closest ? event.target.closest(".drop") : null;
  addFiles([...event.dataTransfer.files], zone ? zone.dataset.slot : "");
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    addFiles(files);
  }
});

showModel();
