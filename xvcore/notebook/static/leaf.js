// Leaf through images: Python makes a page, this shows it and says which is wanted.
function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "xv leaf";
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "images of the class; left and right arrow keys leaf through them");
  const bar = document.createElement("div");
  bar.className = "tools";
  const button = (text, label, step) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", () => go(model.get("position") + step));
    return made;
  };
  const place = document.createElement("span");
  place.setAttribute("aria-live", "polite");
  const choice = document.createElement("select");
  choice.setAttribute("aria-label", "what lies over the image");
  for (const name of model.get("layers")) choice.append(new Option(name, name));
  choice.addEventListener("change", () => { model.set("layer", choice.value); model.save_changes(); });
  bar.append(button("←", "image before", -1), button("→", "next image", 1), place, choice);
  const page = document.createElement("div");
  root.append(bar, page);
  el.append(root);

  function go(position) {
    const last = model.get("n_images") - 1;
    model.set("position", Math.max(0, Math.min(last, position)));
    model.save_changes();
  }
  function show() {
    place.textContent = `${model.get("position") + 1} of ${model.get("n_images")}`;
    choice.value = model.get("layer");
    page.innerHTML = model.get("page");
  }
  root.addEventListener("keydown", (event) => {
    if (event.target === choice) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    go(model.get("position") + steps[event.key]);
  });
  for (const name of ["page", "position", "layer"]) model.on(`change:${name}`, show);
  show();
}
export default { render };
