// What the pages do better with a script. Without it every link and every form works all the same.

const $ = (selector, within = document) => within.querySelector(selector);
const say = (text) => ($("#said").textContent = text);
const policy = window.trustedTypes?.createPolicy("keyhook", { createHTML: (html) => html });

// A link with data-dialog opens that dialog, where the page has it, instead of the page that it leads to.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    dialog.showModal();
  }
  const closer = event.target.closest("[data-close]");
  if (closer?.closest("dialog")) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
});

// Copying, by a button and by hand. Over plain HTTP there is no navigator.clipboard, so the older way is the second try, and selecting the third.
const select = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
};
const copyText = async (element) => {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    select(element);
    return document.execCommand("copy");
  }
};
for (const button of document.querySelectorAll("[data-copy]")) {
  const label = $("span", button);
  const before = label.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const element = document.getElementById(button.dataset.copy);
    const copied = await copyText(element);
    if (copied && page && element.textContent.includes($("#secret").textContent)) stored();
    label.textContent = copied ? "Copied" : "Press Ctrl+C";
    say(copied ? "Copied" : "It is selected: press Control and C to copy it");
    setTimeout(() => (label.textContent = before), 2500);
  });
}

// The page with a secret: asks before it is left with the secret uncopied, and forgets the secret when it is left.
const page = $("[data-secret-page]");
let safe = !page;
const stored = () => {
  safe = true;
  const note = $("[data-copied]");
  if (note) note.hidden = false;
};
if (page) {
  history.replaceState(null, "", page.dataset.secretPage);
  document.addEventListener("copy", stored);
  $("[data-stored]").addEventListener("click", stored);
  addEventListener("beforeunload", (event) => safe || event.preventDefault());
  addEventListener("pagehide", () => page.replaceChildren());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

// Searching while typing: the same request as the form's own, of which only the results are taken.
const form = $("[data-live]");
if (form) {
  const field = $("input[type=search]", form);
  let wait, ask;
  const look = async () => {
    const url = new URL(form.action || location.pathname, location.href);
    url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    ask?.abort();
    ask = new AbortController();
    try {
      const response = await fetch(url, { signal: ask.signal });
      const text = await response.text();
      const found = new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
      const results = found.getElementById(form.dataset.live);
      if (!response.ok || !results) throw new Error(response.status);
      document.getElementById(form.dataset.live).replaceWith(results);
      history.replaceState(null, "", url);
      say($("[data-say]", results).textContent);
    } catch (error) {
      if (error.name !== "AbortError") form.submit();
    }
  };
  field.addEventListener("input", () => {
    // A whole key in here is one that somebody found and looks up: its id is enough, and no secret.
    const key = field.value.match(/[a-z][a-z0-9]{1,9}_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_\w*/);
    if (key) {
      field.value = key.slice(1).join("-");
      say("Only the id of the key is searched; its secret was not sent");
    }
    clearTimeout(wait);
    wait = setTimeout(look, 150);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k") {
      event.preventDefault();
      field.select();
      field.focus();
    }
  });
}

// A link from the terminal carries its code behind the #, which no server and no log ever sees.
const token = $("#token");
if (token && location.hash.length > 1) {
  token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  $("button.first", token.form).focus();
}

// The end of the session is announced five minutes before it comes.
const ends = $("[data-ends]");
const left = ends ? new Date(ends.dataset.ends) - Date.now() - 300_000 : -1;
if (left > 0 && left < 2 ** 31) setTimeout(() => say("Your session ends in five minutes. Save what you have begun."), left);

// The reader's time zone: from the next page on, every time and every day is theirs.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const home = location.pathname.split("/console")[0];
if (zone) document.cookie = `keyhook_zone=${zone}; path=${home}/console; max-age=31536000; samesite=lax`;
