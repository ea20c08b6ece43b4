"use strict";
{
  const $ = (id) => document.getElementById(id);
  const A_STEP = 120; // cards added at a time
  const NARROWEST = 0.45; // width by height of a tile; a narrower image stands in the middle of its tile
  const piece = Number(document.body.dataset.piece);
  const readAll = (kind) => [...document.querySelectorAll(`script.${kind}`)].flatMap((element) => {
    element.remove();
    return JSON.parse(element.textContent);
  });
  const rows = readAll("rows");
  const sizes = readAll("sizes");
  const [totals] = readAll("totals");
  rows.forEach((row, number) => {
    row.number = number;
    if (sizes[number]?.[0]) [row.width, row.height] = sizes[number];
  });

  // A piece of previews is read when one of its images comes near the screen.
  const unread = [...document.querySelectorAll("script.previews")];
  const previews = [];
  const previewOf = (row) => {
    const at = Math.floor(row.number / piece);
    if (unread[at]) {
      previews[at] = JSON.parse(unread[at].textContent);
      unread[at].remove();
      unread[at] = null;
    }
    return previews[at]?.[row.number % piece] ?? "";
  };

  // Whatever a row holds becomes text or an attribute's value here, and never markup.
  const make = (tag, { text, ...attributes } = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  };
  const amount = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const counted = (count, one, many) => `${amount.format(count)} ${count === 1 ? one : many}`;
  const credits = (cost) => counted(cost, "credit", "credits");
  const nameOf = (row) => row.prompt ?? row.file ?? row.task_id ?? `number ${row.number + 1}`;
  const short = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);
  const isSaved = (row) => row.state === "saved";
  const labelOf = (row) => `${short(nameOf(row), 120)}${isSaved(row) ? "" : `, ${row.state}`}`;

  // --- sizes

  const ratioOfText = (text) => {
    const [, width, height] = /^(\d{1,4}):(\d{1,4})$/.exec(text) ?? [];
    return Number(width) / Number(height);
  };
  // The image's own; else the one that was asked for; else a guess.
  const ratioOf = (row) => {
    const { width, height, aspect_ratio: asked } = row.fields ?? {};
    const found = [row.width / row.height, width / height, ratioOfText(String(asked))].find((ratio) => ratio > 0.01 && ratio < 100);
    return found ?? (row.kind === "video" ? 16 / 9 : 1);
  };
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  const sizeText = (row) => {
    const of = divisor(row.width, row.height);
    const [wide, high] = [row.width / of, row.height / of];
    const ratio = wide <= 32 && high <= 32 ? ` · ${wide}:${high}` : "";
    return `${row.width} × ${row.height} px · ${amount.format((row.width * row.height) / 1e6)} MP${ratio}`;
  };
  const bytesText = (bytes) => {
    if (bytes < 1000) return counted(bytes, "byte", "bytes");
    return bytes < 1e6 ? `${amount.format(Math.round(bytes / 1000))} kB` : `${amount.format(bytes / 1e6)} MB`;
  };

  // --- pictures

  const noPicture = (text) => make("span", { class: "none", text });
  const nothingOf = (row) => (isSaved(row) ? "no file" : row.state);
  const pictureOf = (row, src) => {
    const image = make("img", { alt: "", decoding: "async", loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(noPicture("no preview")), { once: true });
    // Without Pillow, or for a format that it does not read, the browser is the first to know the size.
    image.addEventListener("load", () => {
      if (row.width || src.startsWith("data:")) return;
      [row.width, row.height] = [image.naturalWidth, image.naturalHeight];
      setRatio(image.closest(".card"), row);
      setHeightsSoon();
    }, { once: true });
    image.src = src;
    return image;
  };
  const mediumOf = (row) => {
    if (!row.href) return noPicture(nothingOf(row));
    const label = short(nameOf(row), 300);
    if (row.kind === "video") return make("video", { src: row.href, controls: "", loop: "", preload: "metadata", "aria-label": label });
    const image = pictureOf(row, row.href);
    image.alt = label;
    image.loading = "eager";
    return make("a", { href: row.href, title: "Open the file" }, image);
  };

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      const row = rows[entry.target.dataset.row];
      const preview = previewOf(row);
      entry.target.append(pictureOf(row, preview ? `data:image/webp;base64,${preview}` : row.href));
    }
  }, { rootMargin: "800px" });

  // A property, and no attribute: the page's policy lets no style attribute in.
  const tileRatio = (row) => Math.max(NARROWEST, ratioOf(row));
  const setRatio = (card, row) => card?.style.setProperty("--ratio", tileRatio(row).toFixed(4));

  const hasFacts = rows.some((row) => row.model || row.cost !== undefined);
  const cardOf = (row, place) => {
    const thumb = make("button", {
      type: "button", class: "thumb", "data-place": place, "data-row": row.number, "aria-keyshortcuts": "c",
    }, make("span", { class: "hidden", text: `Details: ${labelOf(row)}` }));
    if (row.href && row.kind !== "video") near.observe(thumb);
    else thumb.append(noPicture(row.href ? "▶ video" : nothingOf(row)));
    if (row.error) thumb.append(make("span", { class: "error", text: short(row.error, 160) }));
    const pick = make("button", { type: "button", class: "pick", "data-row": row.number, "aria-pressed": row === picked, "aria-label": `Compare: ${labelOf(row)}`, title: "Compare (c)", text: "⇄" });
    const card = make("li", { class: isSaved(row) ? "card" : "card bad" }, thumb, pick,
      make("p", { class: "caption", dir: "auto", text: short(row.prompt ?? row.file ?? "", 240) }));
    if (hasFacts) {
      const facts = [row.model, row.cost !== undefined && credits(row.cost)].filter(Boolean);
      card.append(make("p", { class: "facts", text: facts.join(" · ") || "\u00a0" }));
    }
    setRatio(card, row);
    return card;
  };

  // --- the grid: a step of cards at a time, more as the end comes near the screen

  const grid = $("grid");
  let shown = rows;
  let picked = null;
  const addUpTo = (count) => {
    const [from, to] = [grid.children.length, Math.min(count, shown.length)];
    if (from >= to) return;
    const added = [];
    for (let place = from; place < to; place += 1) added.push(cardOf(shown[place], place));
    setHeights(lastRow, to, (place) => (place < from ? grid.children[place] : added[place - from]));
    grid.append(...added);
    $("rest").hidden = to >= shown.length;
  };
  // The browser lays out only the cards that are near the screen. So that nothing moves when they come near, the others
  // have the heights that they will have: of their rows, as the style sheet makes them.
  let lastRow = 0; // the place at which the last row begins; more may come to it
  let textHigh = 44; // of the text beneath a picture, in px; a guess until there is a card
  const setHeights = (from, to, cardAt) => {
    const style = getComputedStyle(grid);
    const [gap, high, width] = [parseFloat(style.columnGap), parseFloat(style.getPropertyValue("--high")), grid.clientWidth];
    const first = grid.firstElementChild;
    if (first) textHigh = first.offsetHeight - first.firstElementChild.offsetHeight;
    for (let start = from; start < to;) {
      let ratios = 0;
      let at = start;
      do {
        ratios += tileRatio(shown[at]);
        at += 1;
      } while (at < to && (ratios + tileRatio(shown[at])) * high + (at - start) * gap <= width);
      const isLast = at === to;
      const filled = (width - (at - start - 1) * gap) / ratios;
      const height = `${(Math.min(filled, isLast ? high : 2 * high) + textHigh).toFixed(1)}px`;
      for (let place = start; place < at; place += 1) cardAt(place).style.containIntrinsicHeight = height;
      if (isLast) lastRow = start;
      start = at;
    }
  };
  let heightsAsked = 0;
  const setHeightsSoon = () => {
    cancelAnimationFrame(heightsAsked);
    heightsAsked = requestAnimationFrame(() => setHeights(0, grid.children.length, (place) => grid.children[place]));
  };
  let widthBefore = 0;
  new ResizeObserver(() => {
    if (grid.clientWidth !== widthBefore) setHeightsSoon();
    widthBefore = grid.clientWidth;
  }).observe(grid);
  const addStep = () => addUpTo(grid.children.length + A_STEP);
  const end = new IntersectionObserver((entries) => {
    if (!entries.at(-1).isIntersecting) return;
    addStep();
    end.unobserve($("rest")); // observed anew, it tells again if the end is still near
    end.observe($("rest"));
  }, { rootMargin: "1200px" });
  $("more").addEventListener("click", () => {
    const place = grid.children.length;
    addStep();
    thumbAt(place)?.focus();
  });

  const thumbAt = (place) => {
    if (place < 0 || place >= shown.length) return null;
    addUpTo(place + 1);
    return grid.children[place].querySelector("button");
  };
  // The place above or beneath: in the next row of tiles, the one that is nearest to the middle of this one.
  const placeBeside = (place, step) => {
    const middle = (card) => card.offsetLeft + card.offsetWidth / 2;
    const from = grid.children[place];
    let best = null;
    let top = null;
    for (let at = place + step; at >= 0 && at < shown.length; at += step) {
      addUpTo(at + 1);
      const card = grid.children[at];
      if (card.offsetTop === from.offsetTop) continue;
      if (top === null) top = card.offsetTop;
      else if (card.offsetTop !== top) break;
      if (best === null || Math.abs(middle(card) - middle(from)) < Math.abs(middle(grid.children[best]) - middle(from))) best = at;
    }
    return best ?? place;
  };
  grid.addEventListener("keydown", (event) => {
    const thumb = event.target.closest(".thumb");
    if (!thumb || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = Number(thumb.dataset.place);
    if (event.key === "c") {
      pick(rows[thumb.dataset.row]);
      return;
    }
    const to = {
      ArrowLeft: () => at - 1, ArrowRight: () => at + 1, Home: () => 0, End: () => shown.length - 1,
      ArrowUp: () => placeBeside(at, -1), ArrowDown: () => placeBeside(at, 1),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    thumbAt(to())?.focus();
  });

  // --- filter and sort

  const byText = (name) => (a, b) => (a[name] ?? "").localeCompare(b[name] ?? "");
  const pixels = (row) => (row.width ?? 0) * (row.height ?? 0);
  const orders = {
    order: null,
    reversed: (a, b) => b.number - a.number,
    prompt: byText("prompt"),
    model: byText("model"),
    state: byText("state"),
    cost: (a, b) => (b.cost ?? -1) - (a.cost ?? -1),
    size: (a, b) => pixels(b) - pixels(a),
  };
  const costOf = (some) => some.reduce((sum, row) => sum + (row.cost ?? 0), 0);
  const searched = (row) => (row.searched ??= [row.prompt, row.seed, row.file, row.task_id, row.error, row.id].filter(Boolean).join("\n").toLowerCase());
  const countText = () => {
    const entries = rows.length === 1 ? "entry" : "entries";
    const cost = costOf(shown);
    if (shown.length < rows.length) {
      return `${amount.format(shown.length)} of ${amount.format(rows.length)} ${entries}${cost ? ` · ${credits(cost)}` : ""}`;
    }
    const parts = [`${amount.format(rows.length)} ${entries}`];
    // What the run has cost in all: tries that were repeated and rows that were removed count, and have no tile.
    const other = totals ? totals.credits - cost : 0;
    if (other > 0.005) parts.push(`${credits(totals.credits)}, ${amount.format(other)} of them for earlier tries or removed rows`);
    else if (cost) parts.push(credits(cost));
    if (totals?.unpriced) parts.push(`the cost of ${counted(totals.unpriced, "task", "tasks")} is not known`);
    if (totals?.queued) parts.push(`${amount.format(totals.queued)} not sent yet`);
    return parts.join(" · ");
  };
  const filter = () => {
    const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [state, model, order] = [$("state").value, $("model").value, orders[$("sort").value]];
    shown = rows.filter((row) => (!state || row.state === state) && (!model || row.model === model)
      && words.every((word) => searched(row).includes(word)));
    if (order) shown.sort((a, b) => order(a, b) || a.number - b.number);
    near.disconnect();
    grid.replaceChildren();
    lastRow = 0;
    addStep();
    $("count").textContent = countText();
    $("empty").hidden = shown.length > 0;
    if (!rows.length) $("empty").textContent = "There are no images here.";
    window.scrollTo(0, 0);
  };
  for (const name of ["state", "model"]) {
    const counts = new Map();
    for (const row of rows) if (row[name]) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
    for (const value of [...counts.keys()].sort()) {
      $(name).append(make("option", { value, text: `${short(value, 60)} (${amount.format(counts.get(value))})` }));
    }
  }
  let waiting = 0;
  const filterSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  };
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(filter));
  $("text").addEventListener("input", filterSoon);
  for (const name of ["state", "model", "sort"]) $(name).addEventListener("change", filter);

  // --- facts: each with its label and its text, in the order in which they are read

  const labels = {
    prompt: "Prompt", used_prompt: "Prompt that was used", state: "State", error: "Error", note: "File", model: "Model", seed: "Seed",
    size: "Size", duration: "Duration", cost: "Cost", fields: "", file: "File", bytes: "Bytes", id: "Id", index: "Number",
    task_id: "Task", sha256: "SHA-256",
  };
  const COPIED = new Set(["prompt", "used_prompt", "error", "seed", "file", "id", "task_id", "sha256"]);
  const texts = {
    size: (row) => (row.width ? sizeText(row) : undefined),
    duration: (row) => `${amount.format(row.duration)} s`,
    cost: (row) => credits(row.cost),
    bytes: (row) => bytesText(row.bytes),
    note: (row) => `${row.file}: ${row.note}`,
  };
  const factsOf = (row) => Object.entries(labels).flatMap(([name, label]) => {
    if (name === "fields") {
      return Object.entries(row.fields ?? {}).map(([field, value]) => ({
        name: `field ${field}`, label: field, text: typeof value === "string" ? value : JSON.stringify(value),
      }));
    }
    if (name === "file" && !row.href) return [];
    if (row[name] === undefined && name !== "size") return [];
    const text = name in texts ? texts[name](row) : String(row[name]);
    return text === undefined ? [] : [{ name, label, text }];
  });
  // What makes the image again, as JSON: the fields that were asked for and the seed that was used.
  const requestOf = (row) => JSON.stringify({
    ...(row.model && { model: row.model }), ...(row.prompt && { prompt: row.prompt }), ...row.fields,
    ...(row.seed && { seed: Number.isSafeInteger(Number(row.seed)) ? Number(row.seed) : row.seed }),
  }, null, 2);

  const write = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Over plain http there is no clipboard; the old way needs the text in the page, within the dialog that is open.
      const area = make("textarea", { class: "hidden", "aria-hidden": "true" });
      area.value = text;
      details.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) throw new Error("not copied");
    }
  };
  const said = document.querySelector("#details .said");
  const copy = async (button, what, text) => {
    try {
      await write(text);
      said.textContent = `${what} copied`;
    } catch {
      said.textContent = "The browser does not allow copying.";
    }
    button.focus();
  };

  // --- details

  const details = $("details");
  let open = 0;
  const show = (place) => {
    if (place < 0 || place >= shown.length) return;
    open = place;
    const row = shown[place];
    $("place").textContent = `${amount.format(place + 1)} of ${amount.format(shown.length)}`;
    // Not disabled: a disabled button would drop the focus, and with it the arrow keys.
    $("previous").setAttribute("aria-disabled", place === 0);
    $("next").setAttribute("aria-disabled", place === shown.length - 1);
    $("with").textContent = picked && picked !== row ? "Compare with the picked one" : "Compare";
    $("picture").replaceChildren(mediumOf(row));
    said.textContent = "";
    $("facts").replaceChildren(...factsOf(row).flatMap(({ name, label, text }) => {
      const value = make("dd", { class: name.split(" ")[0], dir: "auto" });
      if (name === "file") value.append(make("a", { href: row.href, text }));
      else value.append(make("span", { text }));
      if (COPIED.has(name)) {
        const button = make("button", { type: "button", class: "copy", "aria-label": `Copy: ${label}`, text: "Copy" });
        button.addEventListener("click", () => copy(button, label, text));
        value.append(button);
      }
      return [make("dt", { text: label }), value];
    }));
    details.querySelector(".side").scrollTop = 0;
  };
  grid.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("pick")) {
      pick(rows[button.dataset.row]);
      return;
    }
    show(Number(button.dataset.place));
    details.showModal();
    $("next").focus();
  });
  $("previous").addEventListener("click", () => show(open - 1));
  $("next").addEventListener("click", () => show(open + 1));
  $("close").addEventListener("click", () => details.close());
  $("all").addEventListener("click", () => copy($("all"), "All fields", requestOf(shown[open])));
  $("with").addEventListener("click", () => {
    details.close();
    pick(shown[open]);
  });
  details.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.target.tagName === "VIDEO") return;
    const to = { ArrowLeft: open - 1, ArrowRight: open + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
  const focusOn = (place) => {
    const thumb = thumbAt(place);
    thumb?.focus();
    thumb?.scrollIntoView({ block: "nearest" });
  };
  details.addEventListener("close", () => {
    $("picture").replaceChildren();
    if (!both.open) focusOn(open);
  });

  // --- compare two: the first is picked and waits in the tray for the second

  const both = $("both");
  let pair = [];
  let second = null; // as it was picked, whatever was swapped since
  const setPicked = (row) => {
    picked = row;
    for (const button of grid.querySelectorAll('.pick[aria-pressed="true"]')) button.setAttribute("aria-pressed", "false");
    if (row) grid.children[shown.indexOf(row)]?.querySelector(".pick").setAttribute("aria-pressed", "true");
    $("tray").hidden = !row;
    $("picked").textContent = row ? `Compare “${short(nameOf(row), 60)}” with another one: pick it.` : "";
  };
  function pick(row) {
    if (!picked || picked === row) {
      setPicked(picked ? null : row);
      return;
    }
    pair = [picked, row];
    second = row;
    showPair();
    both.showModal();
    $("leave").focus();
  }
  $("unpick").addEventListener("click", () => {
    const place = shown.indexOf(picked);
    setPicked(null);
    focusOn(Math.max(place, 0));
  });
  const cellOf = (text) => make("td", { dir: "auto", text: text ?? "–" });
  const showPair = () => {
    const facts = pair.map((row) => new Map(factsOf(row).map((fact) => [fact.name, fact])));
    const names = [...new Set(facts.flatMap((each) => [...each.keys()]))];
    const differs = (name) => facts[0].get(name)?.text !== facts[1].get(name)?.text;
    const fits = pair.every((row) => row.href && row.kind !== "video") && Math.abs(ratioOf(pair[0]) / ratioOf(pair[1]) - 1) < 0.02;
    $("over").hidden = !fits;
    lay(fits && $("over").ariaPressed === "true");
    $("pair").replaceChildren(...pair.map((row, at) => make("figure", {}, mediumOf(row),
      make("figcaption", { dir: "auto", text: `${at ? "Second" : "First"}: ${short(nameOf(row), 120)}` }))));
    $("rows").replaceChildren(...[...names.filter(differs), ...names.filter((name) => !differs(name))].map((name) => {
      const [first, second] = facts.map((each) => each.get(name)?.text);
      const { label } = facts[0].get(name) ?? facts[1].get(name);
      const line = make("tr", { class: differs(name) ? "differs" : "same" }, make("th", { scope: "row", text: label }), cellOf(first));
      if (differs(name)) line.append(cellOf(second));
      else line.lastChild.colSpan = 2;
      return line;
    }));
    both.scrollTop = 0;
  };
  // One over the other: the second is cut off where the slider stands.
  const lay = (over) => {
    $("over").setAttribute("aria-pressed", over);
    $("pair").classList.toggle("over", over);
    $("slide").hidden = !over;
    $("pair").style.setProperty("--share", `${$("share").value}%`);
  };
  $("over").addEventListener("click", () => lay($("over").ariaPressed !== "true"));
  $("share").addEventListener("input", () => $("pair").style.setProperty("--share", `${$("share").value}%`));
  $("swap").addEventListener("click", () => {
    pair.reverse();
    showPair();
  });
  $("leave").addEventListener("click", () => both.close());
  both.addEventListener("close", () => {
    $("pair").replaceChildren();
    setPicked(null);
    focusOn(Math.max(shown.indexOf(second), 0));
  });
  for (const dialog of [details, both]) dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  filter();
  end.observe($("rest"));
}
