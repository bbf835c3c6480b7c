"""What the page of samples does when it is touched: filters, colours, numbers under the pointer."""

STYLE = """
form { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; position: sticky;
  top: 0; background: var(--paper); padding: .5rem 0; border-bottom: 1px solid var(--line);
  font-size: .9rem; z-index: 1; }
form input, form select { font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: .3rem; padding: .1rem .3rem; }
form input[type=number] { width: 5rem; } output { color: var(--soft); }
#about { min-height: 1.5em; width: 100%; }
.reply { border-top: 1px solid var(--line); margin-top: .8rem; padding-top: .5rem; }
.reply pre { max-height: none; } pre i { font-style: normal; } pre i:hover { outline: 1px solid; }
svg.picture { max-width: 100%; height: auto; border: 1px solid var(--line); background: #fff; }
.store { position: absolute; width: 0; height: 0; overflow: hidden; }
[hidden] { display: none !important; }
"""

SCRIPT = """
"use strict";
const form = document.querySelector("form"), about = document.getElementById("about");
const groups = [...document.querySelectorAll("article")];
const replies = [...document.querySelectorAll(".reply")];
const number = (element, name) => parseFloat(element.dataset[name]);
const sizes = replies.map(reply => Math.abs(number(reply, "advantage")) || 0);
const largest = Math.max(1e-9, ...sizes);
const newest = Math.max(0, ...replies.map(reply => number(reply, "newest") || 0));

const colours = {
  none: () => "",
  advantage: (token, reply) => {
    const value = number(reply, "advantage") / largest;
    if (!value) return "";
    return `rgba(${value > 0 ? "40,160,80" : "210,50,50"},${(0.12 + 0.4 * Math.abs(value))})`;
  },
  logprob: token => {
    const surprise = Math.min(1, -number(token, "l") / 5);
    return surprise >= 0.02 ? `rgba(235,140,20,${0.75 * surprise})` : "";
  },
  version: token => {
    const lag = newest - number(token, "v");
    return lag >= 0 ? `hsla(${(210 + 50 * lag) % 360},70%,55%,0.35)` : "";
  },
};

function paint() {
  const colour = colours[form.colour.value];
  for (const reply of replies)
    for (const token of reply.querySelectorAll("i"))
      token.style.background = colour(token, reply);
}

function filter() {
  const source = form.source.value, words = form.search.value.toLowerCase();
  const low = form.low.value === "" ? -Infinity : +form.low.value;
  const high = form.high.value === "" ? Infinity : +form.high.value;
  let shown = 0;
  for (const group of groups) {
    const right = (!source || group.dataset.source === source)
      && (!form.spread.checked || group.dataset.spread === "1");
    const asked = group.querySelector(".asked").textContent.toLowerCase().includes(words);
    let any = false;
    for (const reply of group.querySelectorAll(".reply")) {
      const reward = number(reply, "reward");
      const within = isNaN(reward) ? low === -Infinity && high === Infinity
        : reward >= low && reward <= high;
      reply.hidden = !(right && within
        && (asked || reply.textContent.toLowerCase().includes(words)));
      any ||= !reply.hidden;
      shown += !reply.hidden;
    }
    group.hidden = !any;
  }
  form.count.value = `${shown} of ${replies.length} rollouts`;
}

document.addEventListener("mouseover", event => {
  const token = event.target;
  if (token.tagName !== "I" || token.dataset.n === undefined) return;
  const reply = token.closest(".reply"), parts = [`token ${token.dataset.n}`];
  if (token.dataset.id) parts.push(`id ${token.dataset.id}`);
  if (token.dataset.l) parts.push(`log-probability ${token.dataset.l}`);
  if (token.dataset.v) parts.push(`version ${token.dataset.v}`);
  if (reply.dataset.advantage) parts.push(`advantage ${reply.dataset.advantage}`);
  about.textContent = parts.join(", ");
});
form.addEventListener("input", filter);
form.colour.addEventListener("input", paint);
form.addEventListener("submit", event => event.preventDefault());
filter();
paint();
"""
