// What all parts of the page use.

export const byId = (id) => document.getElementById(id);

// Prompts come from strangers: texts are only ever set as textContent.
export const made = (tag, className = "", text = "") => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
};

export const button = (text, label, act) => {
  const element = made("button", "", text);
  element.type = "button";
  if (label) element.setAttribute("aria-label", label);
  element.addEventListener("click", act);
  return element;
};

export const show = (element, text) => { if (element.textContent !== text) element.textContent = text; };

export const amount = (value) => Number(value).toLocaleString("en", {maximumFractionDigits: 2});
export const dollars = (credits) =>
  `$${(credits / 100).toLocaleString("en", {minimumFractionDigits: 2, maximumFractionDigits: 3})}`;
export const credits = (value) => `${amount(value)} ${value === 1 ? "credit" : "credits"}`;
export const brief = (text) => (text.length > 80 ? `${text.slice(0, 80)}…` : text);

// A dialog hides the rest of the page from screen readers: what is said while it is open is said in it.
export const say = (text) => { byId(byId("lightbox").open ? "lightbox-news" : "news").textContent = text; };
export const tell = (error) => { byId("message").textContent = error ? error.message : ""; };

export async function ask(path, method = "GET", body = undefined, signal = undefined) {
  const options = {method, signal};
  if (body !== undefined) {
    options.headers = {"Content-Type": "application/json"};
    options.body = JSON.stringify(body);
  }
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new Error("The studio cannot be reached. Try again in a moment.");
  }
  if (reply.status === 413) throw new Error("This file is too large.");
  const data = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(typeof data.detail === "string" ? data.detail : "That did not work. Try again.");
  return data;
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https, or without permission, there is no clipboard but this one. A dialog keeps the focus to itself.
    const area = made("textarea", "unseen");
    area.value = text;
    const home = document.activeElement;
    (byId("lightbox").open ? byId("lightbox") : document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    home.focus();
  }
  say(`${what} copied.`);
}
