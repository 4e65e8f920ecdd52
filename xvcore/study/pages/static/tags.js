"use strict";
// Names that the reader enters, as a table; nothing is sent anywhere.
(() => {
  const button = document.getElementById("save-names");
  if (!button) return;
  const fields = Array.from(document.querySelectorAll("input[data-subject]"));
  const cell = (text) => /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  button.hidden = false;
  button.addEventListener("click", () => {
    const rows = fields.filter((each) => each.value.trim()).map((each) => each.dataset.subject + "," + cell(each.value.trim()));
    const address = URL.createObjectURL(new Blob([["subject_id,tag", ...rows, ""].join("\n")], { type: "text/csv" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "tags.csv";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
})();
