"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");
  const said = document.getElementById("said");
  const key = "xv-" + data.study;
  const WORDS = 80;
  const BLOCKS = {
    name: ["What do these pictures have in common?", "You see small pictures. Say which part they all, or most of them, show. If they have nothing in common, say so: that is a good answer too."],
    intruder: ["Which picture does not belong?", "All pictures but one show the same kind of thing. Choose the one that does not belong. If you are not sure, choose the one that differs most."],
    two_afc: ["Which picture belongs to the first group?", "Two groups of pictures, then two single ones. Choose the single picture that belongs to the first group, not to the second, and say how sure you are."],
    distinction: ["Which picture explains the decision?", "A program has decided what the photo shows. Each of the numbered pictures marks what speaks for one possible decision. Choose the one that explains the decision that it really took."],
  };
  const PROMPTS = {
    name: "What do most of these pictures show?",
    intruder: "Which picture does not belong to the others?",
    two_afc: "Which of the two pictures belongs to the first group?",
    distinction: "Which of the numbered pictures explains the decision?",
  };
  const SURE = ["guessed", "rather sure", "sure"];

  // Of a text, the first four bytes of a hash (FNV-1a): seed of the order of questions.
  const hash = (text) => { let h = 0x811c9dc5; for (const c of new TextEncoder().encode(text)) h = Math.imul(h ^ c, 0x01000193) >>> 0; return h; };
  const numbers = (seed) => () => { seed = (seed + 0x6d2b79f5) | 0; let t = Math.imul(seed ^ (seed >>> 15), 1 | seed); t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t; return ((t ^ (t >>> 14)) >>> 0) / 4294967296; };
  const shuffled = (items, random) => { const a = items.slice(); for (let i = a.length - 1; i > 0; i--) { const j = Math.floor(random() * (i + 1)); [a[i], a[j]] = [a[j], a[i]]; } return a; };

  // Not crypto.subtle: browsers differ in whether a page from a file may use it.
  function sha256(text) {
    const K = [], H = []; let n = 2;
    const part = (x) => ((x - Math.floor(x)) * 4294967296) | 0;
    for (; K.length < 64; n++) { let is = true; for (let f = 2; f * f <= n; f++) if (n % f === 0) { is = false; break; } if (is) { if (H.length < 8) H.push(part(Math.sqrt(n))); K.push(part(Math.cbrt(n))); } }
    const bytes = Array.from(new TextEncoder().encode(text)), bits = bytes.length * 8;
    bytes.push(0x80); while (bytes.length % 64 !== 56) bytes.push(0);
    for (let s = 56; s >= 0; s -= 8) bytes.push(s >= 32 ? Math.floor(bits / 4294967296) >>> (s - 32) & 255 : bits >>> s & 255);
    const turn = (x, r) => (x >>> r) | (x << (32 - r));
    for (let i = 0; i < bytes.length; i += 64) {
      const w = [];
      for (let j = 0; j < 16; j++) w[j] = (bytes[i + 4 * j] << 24) | (bytes[i + 4 * j + 1] << 16) | (bytes[i + 4 * j + 2] << 8) | bytes[i + 4 * j + 3];
      for (let j = 16; j < 64; j++) w[j] = (w[j - 16] + (turn(w[j - 15], 7) ^ turn(w[j - 15], 18) ^ (w[j - 15] >>> 3)) + w[j - 7] + (turn(w[j - 2], 17) ^ turn(w[j - 2], 19) ^ (w[j - 2] >>> 10))) | 0;
      let [a, b, c, d, e, f, g, h] = H;
      for (let j = 0; j < 64; j++) {
        const t1 = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[j] + w[j]) | 0;
        const t2 = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
      }
      [a, b, c, d, e, f, g, h].forEach((v, j) => { H[j] = (H[j] + v) | 0; });
    }
    return H.map((v) => (v >>> 0).toString(16).padStart(8, "0")).join("");
  }

  const clean = (text) => text.replace(/\s+/g, " ").trim().slice(0, WORDS);
  const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  let sitting = null, order = [], shownAt = 0, away = 0, leftAt = null;

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leftAt = performance.now();
    else if (leftAt !== null) { away += performance.now() - leftAt; leftAt = null; }
  });

  // Blocks in the study's order; in each practice first, then the rest in an order of this sitting.
  function ordered(session) {
    const random = numbers(hash(data.seed + " " + session));
    const blocks = [...new Set(data.questions.slice().sort((a, b) => a.id < b.id ? -1 : 1).map((q) => q.block))];
    return blocks.flatMap((block) => {
      const of = data.questions.filter((q) => q.block === block);
      return [...of.filter((q) => q.practice), ...shuffled(of.filter((q) => !q.practice), random)];
    });
  }

  function record() {
    const answers = sitting.answers;
    const lines = [data.format, String(data.version), data.study, data.content, sitting.session, sitting.participant, sitting.started];
    for (const a of answers) lines.push([a.question, a.place, a.choice, a.words, a.confidence, a.milliseconds].join("\t"));
    return {
      format: data.format, version: data.version, study: data.study, content: data.content,
      session: sitting.session, participant: sitting.participant, started: sitting.started,
      saved: new Date().toISOString(), complete: answers.length === order.length,
      screen: window.innerWidth + "x" + window.innerHeight, answers, sha256: sha256(lines.join("\n")),
    };
  }

  const keep = () => { try { localStorage.setItem(key, JSON.stringify(sitting)); } catch { /* a private window keeps nothing: the file is still saved at the end */ } };
  const kept = () => { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } };
  const forget = () => { try { localStorage.removeItem(key); } catch { /* likewise */ } };

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) {
      if (k === "onclick" || k === "onsubmit") made.addEventListener(k.slice(2), v); else if (v !== false && v !== null) made.setAttribute(k, v === true ? "" : v);
    }
    made.append(...children.filter((each) => each !== null));
    return made;
  }
  function show(...children) {
    main.replaceChildren(...children.filter((each) => each !== null));
    said.textContent = "";
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  function tile([, picture, projection], alt) {
    const image = (index, text) => element("img", { src: data.pictures[index], alt: text });
    return projection === null
      ? element("figure", { class: "tile" }, image(picture, alt))
      : element("figure", { class: "tile two" }, image(picture, alt), image(projection, alt + ", what of it counts"));
  }
  const grid = (items, name, wide) => element("div", { class: "grid" + (wide ? " wide" : "") + (items.some((each) => each[2] !== null) ? " pairs" : "") },
    ...items.map((each, i) => tile(each, name + " " + (i + 1))));

  function download() {
    const text = JSON.stringify(record(), null, 1);
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = element("a", { href: address, download: data.study + "-" + sitting.session.slice(0, 8) + ".json" });
    document.body.append(link); link.click(); link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    said.textContent = "Saved: look among your downloads for " + data.study + "-" + sitting.session.slice(0, 8) + ".json";
  }

  function bar() {
    const n = order.filter((q) => !q.practice).length, done = sitting ? sitting.answers.filter((a) => !order.find((q) => q.id === a.question).practice).length : 0;
    const progress = document.getElementById("progress");
    progress.max = n || 1; progress.value = done;
    document.getElementById("where").textContent = sitting ? done + " of " + n + " answered" : "Picture study";
    document.getElementById("save").hidden = !sitting || !sitting.answers.length;
  }

  function welcome() {
    const before = kept();
    const n = data.questions.filter((q) => !q.practice).length;
    const name = element("input", { type: "text", id: "participant", autocomplete: "off", maxlength: WORDS });
    const start = element("form", { onsubmit: (event) => {
      event.preventDefault();
      sitting = { session: hex(), participant: clean(name.value), started: new Date().toISOString(), answers: [], seen: [] };
      order = ordered(sitting.session); keep(); next();
    } }, element("p", {}, element("label", { for: "participant" }, "Your code, if you were given one"), element("br"), name),
      element("button", { class: "next", type: "submit", id: "start" }, "Start"));
    const is = before && before.session && before.answers && before.answers.length;
    show(element("h1", {}, "Picture study"),
      element("p", {}, n + " questions about small pictures, about " + data.minutes + " minutes. There are no trick questions; some are hard, and then a guess is fine."),
      element("p", {}, "Nothing is sent anywhere. Your answers are kept in this browser; at the end you save them as a file and hand that file over. It holds your answers, the time that each took, the size of the window and the code that you may enter here, and nothing else. You can stop at any time."),
      element("p", { class: "hint" }, "Keyboard: number keys choose, Enter goes on."),
      is ? element("p", {}, element("button", { class: "next", type: "button", id: "resume", onclick: () => {
        sitting = before; order = ordered(sitting.session); next();
      } }, "Go on where you stopped (" + before.answers.length + " answered)")) : null, start);
    bar();
  }

  function next() {
    bar();
    const done = new Set(sitting.answers.map((a) => a.question));
    const question = order.find((q) => !done.has(q.id));
    if (!question) return thanks();
    if (!sitting.seen.includes(question.block)) return introduce(question.block);
    return ask(question);
  }

  function introduce(block) {
    const [title, text] = BLOCKS[block];
    const practice = order.some((q) => q.block === block && q.practice);
    show(element("h1", {}, title), element("p", {}, text),
      practice ? element("p", {}, "First some examples for practice, after which you are told what was right.") : null,
      element("button", { class: "next", type: "button", id: "begin", onclick: () => { sitting.seen.push(block); keep(); next(); } }, "Begin"));
    document.getElementById("begin").focus();
  }

  function choices(question, legend, texts, pictures) {
    const box = element("fieldset", {}, element("legend", {}, legend));
    const row = element("div", { class: "options" + (pictures ? " pictured" : "") + (pictures && pictures.length < 3 ? " few" : "") });
    question.options.forEach((option, i) => row.append(element("label", {},
      pictures ? tile(pictures[i], "picture " + (i + 1)) : null,
      element("span", {}, element("input", { type: "radio", name: "choice", value: option, required: true }), " " + texts[i]))));
    box.append(row);
    return box;
  }
  function confidence() {
    const row = element("div", { class: "options" }, ...SURE.map((text, i) => element("label", {}, element("span", {}, element("input", { type: "radio", name: "confidence", value: i + 1, required: true }), " " + text))));
    return element("fieldset", {}, element("legend", {}, "How sure are you?"), row);
  }

  function ask(question) {
    const of = (side) => question.shown.filter((each) => each[0] === side);
    const parts = [];
    if (question.task === "two_afc") {
      parts.push(element("div", { class: "sides" },
        element("section", { class: "side" }, element("h2", {}, "First group"), grid(of("max"), "first group, picture", false)),
        element("section", { class: "side" }, element("h2", {}, "Second group"), grid(of("min"), "second group, picture", false))));
      parts.push(choices(question, "Belongs to the first group", question.options.map((_, i) => "picture " + (i + 1)), of("query")), confidence());
    } else if (question.task === "name") {
      parts.push(grid(of("item"), "picture", true));
      if (question.options.length) parts.push(choices(question, "They show", question.options.map((o) => o === "none" ? "nothing in common" : o), null));
      else {
        const field = element("input", { type: "text", id: "words", name: "words", autocomplete: "off", maxlength: WORDS });
        const nothing = element("label", {}, element("span", {}, element("input", { type: "checkbox", id: "nothing" }), " nothing in common"));
        parts.push(element("fieldset", {}, element("legend", {}, element("label", { for: "words" }, "They show (one or two words)")), field, element("div", { class: "options", style: "margin-top:.5rem" }, nothing)));
      }
    } else {
      if (question.task === "distinction") parts.push(element("figure", { class: "photo" }, element("img", { src: data.pictures[of("photo")[0][1]], alt: "the photo" })));
      parts.push(choices(question, question.task === "distinction" ? "Explains the decision" : "Does not belong", question.options.map((o) => "picture " + o), of("item")));
    }
    const form = element("form", { onsubmit: (event) => { event.preventDefault(); answer(question, form); } },
      ...parts, element("button", { class: "next", type: "submit", id: "next" }, "Next"));
    show(element("h1", {}, (question.practice ? "Practice: " : "") + PROMPTS[question.task]), form);
    away = 0; leftAt = null; shownAt = performance.now();
  }

  function answer(question, form) {
    const milliseconds = Math.round(performance.now() - shownAt - away);
    const values = new FormData(form);
    let choice = values.get("choice"), words = "";
    if (question.task === "name" && !question.options.length) {
      words = document.getElementById("nothing").checked ? "" : clean(String(values.get("words") || ""));
      choice = document.getElementById("nothing").checked ? "none" : words ? words.toLowerCase() : null;
    }
    if (choice === null) { said.textContent = "Choose an answer first."; return; }
    sitting.answers.push({ question: question.id, place: sitting.answers.length + 1, choice, words, confidence: Number(values.get("confidence") || 0), milliseconds });
    keep(); bar();
    if (!question.practice) return next();
    const right = question.practice.includes(choice);
    const what = question.task === "two_afc" ? "picture " + (question.options.indexOf(question.practice[0]) + 1) : question.task === "name" ? (question.practice[0] === "none" ? "nothing in common" : question.practice[0]) : "picture " + question.practice[0];
    main.querySelectorAll("input").forEach((each) => { each.disabled = true; });
    document.getElementById("next").remove();
    const on = element("button", { class: "next", type: "button", id: "on", onclick: next }, "Go on");
    main.append(element("p", { class: right ? "right" : "wrong" }, right ? "Right." : "Not quite: it is " + what + "."), on);
    said.textContent = right ? "Right." : "Not quite: it is " + what + ".";
    on.focus();
    return undefined;
  }

  function thanks() {
    const text = JSON.stringify(record(), null, 1);
    const area = element("textarea", { readonly: true, id: "text", "aria-label": "your answers as text" });
    area.value = text;
    show(element("h1", {}, "Thank you. That was all."),
      element("p", {}, "Save your answers as a file and hand it over as you were asked to. Where no file can be saved, copy the text below."),
      element("p", {}, element("button", { class: "next", type: "button", id: "finish", onclick: download }, "Save answers")),
      area,
      element("p", {}, element("button", { type: "button", id: "copy", onclick: () => { area.select(); document.execCommand("copy"); said.textContent = "Copied."; } }, "Copy the text"), " ",
        element("button", { type: "button", id: "anew", onclick: () => { sitting = null; order = []; forget(); welcome(); } }, "Another person answers")));
    bar();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.target.matches && event.target.matches("input[type=text], textarea"))) return;
    const digit = "123456789".indexOf(event.key);
    const groups = ["choice", "confidence"].map((name) => Array.from(main.querySelectorAll("input[name=" + name + "]:not(:disabled)"))).filter((each) => each.length);
    if (digit < 0 || !groups.length) {
      if (event.key === "Enter" && event.target === main && document.getElementById("next")) { document.getElementById("next").click(); event.preventDefault(); }
      return;
    }
    const group = groups.find((each) => !each.some((input) => input.checked)) || groups[groups.length - 1];
    const input = group[digit];
    if (input) { input.checked = true; input.focus(); event.preventDefault(); }
  });

  document.getElementById("save").addEventListener("click", download);
  welcome();
})();
