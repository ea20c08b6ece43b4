"use strict";
{
  const $ = (id) => document.getElementById(id);
  const A_STEP = 120; // cards added at a time
  const piece = Number(document.body.dataset.piece);
  const rows = [];
  for (const element of document.querySelectorAll("script.rows")) {
    rows.push(...JSON.parse(element.textContent));
    element.remove();
  }
  rows.forEach((row, number) => { row.number = number; });

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
  const credits = (cost) => `${amount.format(cost)} ${cost === 1 ? "credit" : "credits"}`;
  const nameOf = (row) => row.prompt ?? row.file ?? row.task_id ?? `number ${row.number + 1}`;
  const short = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);

  const pictureOf = (row, src) => {
    const image = make("img", { alt: "", decoding: "async", loading: "lazy" });
    image.addEventListener("error", () => image.replaceWith(make("span", { class: "none", text: "no preview" })), { once: true });
    image.src = src;
    return image;
  };

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      const row = rows[entry.target.dataset.row];
      const preview = previewOf(row);
      entry.target.replaceChildren(pictureOf(row, preview ? `data:image/webp;base64,${preview}` : row.href));
    }
  }, { rootMargin: "800px" });

  const cardOf = (row, place) => {
    const thumb = make("button", {
      type: "button", class: "thumb", "data-place": place, "data-row": row.number,
      "aria-label": `Details: ${short(nameOf(row), 120)}${row.state === "saved" ? "" : `, ${row.state}`}`,
    });
    if (row.href) near.observe(thumb);
    else thumb.append(make("span", { class: "none", text: row.state === "saved" ? "no file" : row.state }));
    const facts = [row.model, row.seed && `seed ${row.seed}`, row.cost !== undefined && credits(row.cost)]
      .filter(Boolean).map((fact) => fact.replaceAll(" ", "\u00a0"));
    const card = make("li", { class: "card" }, thumb, make("p", { class: "prompt", dir: "auto", text: short(row.prompt ?? row.file ?? "", 240) }));
    if (facts.length) card.append(make("p", { class: "facts", text: facts.join(" · ") }));
    if (row.error) card.append(make("p", { class: "error", text: short(row.error, 160) }));
    if (row.href) card.append(make("a", { href: row.href, text: row.file, "aria-label": `Open the file ${row.file}` }));
    else if (row.file) card.append(make("p", { class: "facts", text: `${short(row.file, 80)}: ${row.note}` }));
    return card;
  };

  // --- the grid: a step of cards at a time, more as the end comes near the screen

  const grid = $("grid");
  let shown = rows;
  const addUpTo = (count) => {
    const added = document.createDocumentFragment();
    for (let place = grid.children.length; place < Math.min(count, shown.length); place += 1) added.append(cardOf(shown[place], place));
    grid.append(added);
    $("rest").hidden = grid.children.length >= shown.length;
  };
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
  grid.addEventListener("keydown", (event) => {
    const at = event.target.dataset.place;
    if (at === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? shown.length - 1 : step && Number(at) + step;
    if (to === undefined) return;
    event.preventDefault();
    thumbAt(to)?.focus();
  });

  // --- filter and sort

  const byText = (name) => (a, b) => (a[name] ?? "").localeCompare(b[name] ?? "");
  const orders = {
    order: null,
    reversed: (a, b) => b.number - a.number,
    prompt: byText("prompt"),
    model: byText("model"),
    state: byText("state"),
    cost: (a, b) => (b.cost ?? -1) - (a.cost ?? -1),
  };
  const searched = (row) => (row.searched ??= [row.prompt, row.seed, row.file, row.task_id, row.error].filter(Boolean).join("\n").toLowerCase());
  const filter = () => {
    const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [state, model, order] = [$("state").value, $("model").value, orders[$("sort").value]];
    shown = rows.filter((row) => (!state || row.state === state) && (!model || row.model === model)
      && words.every((word) => searched(row).includes(word)));
    if (order) shown.sort((a, b) => order(a, b) || a.number - b.number);
    near.disconnect();
    grid.replaceChildren();
    addStep();
    const cost = shown.reduce((sum, row) => sum + (row.cost ?? 0), 0);
    const count = shown.length === rows.length ? amount.format(rows.length) : `${amount.format(shown.length)} of ${amount.format(rows.length)}`;
    $("count").textContent = `${count} ${rows.length === 1 ? "entry" : "entries"}${cost ? ` · ${credits(cost)}` : ""}`;
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

  // --- details

  const details = $("details");
  let open = 0;
  const labels = { prompt: "Prompt", state: "State", error: "Error", model: "Model", seed: "Seed", cost: "Cost", file: "File", note: "", index: "Number", task_id: "Task", sha256: "SHA-256" };
  const show = (place) => {
    if (place < 0 || place >= shown.length) return;
    open = place;
    const row = shown[place];
    $("place").textContent = `${amount.format(place + 1)} of ${amount.format(shown.length)}`;
    // Not disabled: a disabled button would drop the focus, and with it the arrow keys.
    $("previous").setAttribute("aria-disabled", place === 0);
    $("next").setAttribute("aria-disabled", place === shown.length - 1);
    if (row.href) {
      const image = pictureOf(row, row.href);
      image.alt = short(row.prompt ?? row.file, 300);
      image.loading = "eager";
      $("picture").replaceChildren(make("a", { href: row.href, title: "Open the file" }, image));
    } else {
      $("picture").replaceChildren(make("span", { class: "none", text: row.state === "saved" ? "no file" : row.state }));
    }
    $("facts").replaceChildren();
    for (const [name, label] of Object.entries(labels)) {
      if (row[name] === undefined) continue;
      const value = make("dd", { class: name, dir: "auto" });
      if (name === "file" && row.href) value.append(make("a", { href: row.href, text: row.file }));
      else value.textContent = name === "cost" ? credits(row.cost) : row[name];
      $("facts").append(make("dt", { text: label }), value);
    }
    details.scrollTop = 0;
  };
  grid.addEventListener("click", (event) => {
    const thumb = event.target.closest("button.thumb");
    if (!thumb) return;
    show(Number(thumb.dataset.place));
    details.showModal();
    $("next").focus();
  });
  $("previous").addEventListener("click", () => show(open - 1));
  $("next").addEventListener("click", () => show(open + 1));
  $("close").addEventListener("click", () => details.close());
  details.addEventListener("click", (event) => { if (event.target === details) details.close(); });
  details.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const to = { ArrowLeft: open - 1, ArrowRight: open + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
  details.addEventListener("close", () => {
    $("picture").replaceChildren();
    const thumb = thumbAt(open);
    thumb?.focus();
    thumb?.scrollIntoView({ block: "nearest" });
  });

  filter();
  end.observe($("rest"));
}
