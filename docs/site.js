// The theme's script adds copy buttons and boxes around tables. Name the buttons' landmarks, and let the keyboard reach
// boxes that scroll. Parts of the table of contents are no landmarks of their own: two may have the same name.
function completeTheme() {
  document.querySelectorAll("nav.md-code__nav").forEach((nav, index) => {
    nav.setAttribute("aria-label", `Code block ${index + 1}`);
  });
  for (const part of document.querySelectorAll(".md-nav--secondary .md-nav")) {
    part.setAttribute("role", "none");
    part.removeAttribute("aria-label");
  }
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Table that scrolls");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) {
        box.removeAttribute(name);
      }
    }
  }
}

new MutationObserver(completeTheme).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", completeTheme);
completeTheme();
