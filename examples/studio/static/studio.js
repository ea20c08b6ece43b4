// The page: what goes on is heard here, and what is wanted is sent from here.

import {amount, ask, byId, dollars, say, show, tell} from "./common.js";
import {uploads, variations, wish} from "./form.js";
import {cards, forget, forgetAll, showPicture, watched} from "./gallery.js";
import "./lightbox.js";

function showAccount(account) {
  show(byId("running"), `${account.running} of ${account.limit}`);
  show(byId("queued"), String(account.queued));
  show(byId("spent"), `${amount(account.credits)} credits (${dollars(account.credits)})`);
}

// One stream per page, and none while the page is hidden: a browser has six connections to a host for all its tabs.
let stream = null;
let lastId = "";
let lost = false;

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource(lastId ? `/events?after=${encodeURIComponent(lastId)}` : "/events");
  const hear = (kind, act) => stream.addEventListener(kind, (event) => {
    if (event.lastEventId) lastId = event.lastEventId;
    act(JSON.parse(event.data));
  });
  hear("picture", showPicture);
  hear("gone", ({id}) => forget(id));
  hear("account", showAccount);
  hear("reset", forgetAll);
  stream.addEventListener("open", () => {
    if (!lost) return;
    lost = false;
    tell(null);
  });
  stream.addEventListener("error", () => {
    lost = true;
    tell(new Error("The connection to the studio is lost. Trying again."));
    // The server refused: the browser does not retry.
    if (stream && stream.readyState === EventSource.CLOSED) {
      quiet();
      setTimeout(listen, 2000);
    }
  });
}

function quiet() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => { if (document.hidden) quiet(); else listen(); });
addEventListener("pagehide", quiet);
addEventListener("pageshow", listen);

// --- asking for some

byId("wish").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!byId("prompt").disabled && !byId("prompt").value.trim() && !Object.keys(wish().images).length) {
    tell(new Error("Describe what you want to see."));
    byId("prompt").focus();
    return;
  }
  tell(null);
  const count = variations();
  const asked = wish();
  try {
    if (!(await uploads())) return;
    asked.images = wish().images;
    const {problem} = await ask("/price", "POST", asked);
    if (problem) throw new Error(problem);
    for (let number = 0; number < count; number += 1) {
      // Variations of a seed have the seeds that follow it.
      const seed = asked.seed === undefined ? {} : {seed: String(BigInt(asked.seed) + BigInt(number))};
      const picture = await ask("/pictures", "POST", {...asked, ...seed});
      watched.add(picture.id);
      if (!cards.has(picture.id)) showPicture(picture);
    }
    // On a phone the pictures are below the form.
    if (byId("results").offsetTop > innerHeight / 2) byId("results").scrollIntoView();
    say(count === 1 ? "Waiting to be drawn." : `${count} pictures wait to be drawn.`);
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
