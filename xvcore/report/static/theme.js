// Before the first paint: the theme chosen earlier, if the browser lets us remember one (not every one does for files).
(function () {
  "use strict";
  try {
    var chosen = window.localStorage.getItem("xv-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch (error) { /* no storage: the system's theme */ }
})();
