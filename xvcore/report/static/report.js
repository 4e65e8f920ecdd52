// Theme, mask or whole picture, sorting and filtering of the first page, arrow keys. All pages work without this file.
(function () {
  "use strict";

  function remember(key, value) {
    try { window.localStorage.setItem(key, value); } catch (error) { /* not allowed for files: lasts for this page */ }
  }

  function themes() {
    const button = document.getElementById("theme");
    const root = document.documentElement;
    const system = window.matchMedia("(prefers-color-scheme: dark)");
    const current = () => root.dataset.theme || (system.matches ? "dark" : "light");
    const label = () => {
      button.textContent = current() === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", "switch to " + button.textContent.toLowerCase() + " colours");
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      remember("xv-theme", root.dataset.theme);
      label();
    });
    system.addEventListener("change", label);
    label();
  }

  function views() {
    const buttons = document.querySelectorAll("button[data-view]");
    buttons.forEach((button) => button.addEventListener("click", () => {
      document.body.dataset.view = button.dataset.view;
      buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    }));
  }

  function arrows() {
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (event.target.closest("input, select, textarea, pre, .scroll")) return;
      const relation = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
      const link = relation && document.querySelector("a[rel=" + relation + "]");
      if (link) link.click();
    });
  }

  // What is wider than its place can be scrolled by keyboard: it takes the focus while it is.
  function scrollers() {
    const fit = (each) => {
      const isFolded = each.closest("details:not([open])"); // not drawn, and not focused either
      const isWider = each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1;
      if (isFolded || isWider) each.tabIndex = 0; else each.removeAttribute("tabindex");
      if (each.matches(".scroll")) hint(each, each.scrollWidth > each.clientWidth + 1);
    };
    // A word above a table that goes on beyond the edge: a phone shows no bar until it is touched.
    const hint = (each, isWider) => {
      const before = each.previousElementSibling, isThere = before && before.matches(".sideways");
      if (isThere) before.hidden = !isWider;
      else if (isWider) {
        const words = Object.assign(document.createElement("p"), { className: "sideways", textContent: "Goes on to the right →" });
        each.before(words);
      }
    };
    const observer = new ResizeObserver((entries) => entries.forEach((entry) => fit(entry.target)));
    document.querySelectorAll("pre, .scroll").forEach((each) => { fit(each); observer.observe(each); });
  }

  const STEP = 100; // rows shown at once: a thousand rows of pictures would make a phone slow
  const tables = {}; // what takes more rows, by the block's id: pieces are scripts, which a page that is a file may load

  window.xvRows = (id, html) => tables[id] && tables[id](html);

  function table(controls) {
    const table = document.getElementById(controls.dataset.for);
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const heads = Array.from(table.querySelectorAll("th[data-key]"));
    const search = controls.querySelector("input[type=search]");
    const select = controls.querySelector("select");
    const order = controls.querySelector(".order");
    const failed = controls.querySelector("input[type=checkbox]");
    const output = controls.querySelector("output");
    const more = table.nextElementSibling;
    const total = Number(controls.dataset.total);
    const pieces = (controls.dataset.pieces || "").split(" ").filter(Boolean); // not loaded yet, in their order
    const waiting = []; // for all pieces
    const state = { key: "name", down: false, shown: pieces.length ? rows.length : STEP };
    let isLost = false, isLoading = false;

    tables[controls.dataset.for.replace(/-table$/, "")] = (html) => {
      const holder = document.createElement("template");
      holder.innerHTML = "<table><tbody>" + html + "</tbody></table>";
      rows.push(...holder.content.querySelectorAll("tr"));
    };

    function load(then) { // the next piece
      const script = document.createElement("script");
      const after = (lost) => {
        isLost = isLost || lost;
        isLoading = false;
        script.remove();
        then();
        if (!isLoading && waiting.length) goOn();
      };
      isLoading = true;
      output.textContent = "loading …";
      script.addEventListener("load", () => after(false));
      script.addEventListener("error", () => after(true));
      script.src = pieces.shift();
      document.head.append(script);
    }

    function goOn() {
      if (pieces.length) { load(goOn); return; }
      state.shown = Math.max(state.shown, STEP);
      waiting.splice(0).forEach((each) => each());
    }

    function withAll(then) { // what looks at all rows needs all pieces
      waiting.push(then);
      if (!isLoading) goOn();
    }

    function compare(a, b) {
      if (state.key !== "name") {
        const x = a.dataset[state.key], y = b.dataset[state.key];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined); // nothing to sort by: last
        if (Number(x) !== Number(y)) return state.down ? Number(y) - Number(x) : Number(x) - Number(y);
        return a.dataset.name.localeCompare(b.dataset.name);
      }
      const names = a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
      return state.down ? -names : names;
    }

    function show() {
      const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0;
      rows.forEach((row) => {
        const fits = words.every((word) => row.dataset.find.includes(word))
          && !(failed && failed.checked && row.dataset.failed === undefined);
        if (fits) found += 1;
        row.hidden = !fits || found > state.shown;
      });
      const all = found + (pieces.length ? total - rows.length : 0);
      output.textContent = isLost ? "some classes could not be loaded" : all === total ? "" : all + " of " + total;
      more.hidden = all <= state.shown;
      more.firstElementChild.textContent = "Show " + Math.min(STEP, all - state.shown) + " more of " + all;
      if (found > 0) body.append(...rows.filter((row) => row.parentNode !== body));
    }

    function sort() {
      rows.sort(compare);
      body.append(...rows);
      heads.forEach((head) => {
        if (head.dataset.key === state.key) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      select.value = state.key;
      order.textContent = state.down ? "↑" : "↓";
      show();
    }

    function by(key) {
      state.down = key === state.key ? !state.down : key !== "name";
      state.key = key;
      withAll(sort);
    }

    function grow() {
      state.shown += STEP;
      const go = () => (pieces.length && rows.length < state.shown ? load(go) : show());
      if (!isLoading) go();
    }

    function filter() {
      state.shown = STEP;
      const isAsked = search.value.trim() || (failed && failed.checked);
      if (isAsked) withAll(show); else show();
    }

    heads.forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => by(head.dataset.key));
      head.append(button);
    });
    search.addEventListener("input", filter);
    if (failed) failed.addEventListener("change", filter);
    select.addEventListener("change", () => { state.key = ""; by(select.value); });
    order.addEventListener("click", () => by(state.key));
    more.firstElementChild.addEventListener("click", grow);
    controls.hidden = false;
    show();
  }

  // Hides the rows of a table of numbers that do not hold all words.
  function filtered(controls) {
    const table = document.getElementById(controls.dataset.filter);
    const rows = Array.from(table.tBodies[0].rows);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const search = controls.querySelector("input[type=search]");
    const output = controls.querySelector("output");
    search.addEventListener("input", () => {
      const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      let found = 0;
      rows.forEach((row, index) => {
        row.hidden = !words.every((word) => texts[index].includes(word));
        found += !row.hidden;
      });
      output.textContent = found === rows.length ? "" : found + " of " + rows.length;
    });
    controls.hidden = false;
  }

  // A table of numbers: what has no value comes last, whichever way it is sorted.
  function sortable(table) {
    const body = table.tBodies[0];
    const heads = Array.from(table.querySelectorAll("th[data-sort]"));
    heads.forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.cellIndex > 0;
        const rows = Array.from(body.rows).map((row) => [row.cells[head.cellIndex].dataset.value, row]);
        rows.sort(([a], [b]) => {
          if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
          const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : Number(a) - Number(b);
          return down ? -order : order;
        });
        body.append(...rows.map(([, row]) => row));
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
      });
    });
  }

  themes();
  views();
  arrows();
  scrollers();
  document.querySelectorAll(".controls[data-for]").forEach(table);
  document.querySelectorAll(".controls[data-filter]").forEach(filtered);
  document.querySelectorAll("table.sortable").forEach(sortable);
})();
