"use strict";
// Tables that sort and filter, and buttons that copy: they work without the drawing library.
(() => {
  const byId = (id) => document.getElementById(id);

  function sortBy(table, column, header) {
    const up = header.getAttribute("aria-sort") === "descending";
    const numeric = header.classList.contains("number");
    const key = (row) => {
      const text = row.cells[column].dataset.sort ?? "";
      return numeric ? (text === "" ? NaN : Number(text)) : text;
    };
    const order = (a, b) => {
      if (!numeric) return a.localeCompare(b, undefined, { numeric: true }) * (up ? -1 : 1);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // nothing comes last
      return (up ? a - b : b - a);
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort((a, b) => order(a[0], b[0]));
    table.tBodies[0].append(...rows.map((pair) => pair[1]));
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", up === numeric ? "ascending" : "descending");
    if (!numeric) header.setAttribute("aria-sort", up ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = header.querySelector("button");
      if (button) button.addEventListener("click", () => sortBy(table, column, header));
    });
  }

  const filter = byId("filter");
  if (filter) {
    filter.addEventListener("input", () => {
      const wanted = filter.value.toLowerCase();
      let shown = 0;
      const rows = byId("score-table").tBodies[0].rows;
      for (const row of rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        shown += !row.hidden;
      }
      byId("filter-count").textContent = wanted ? `${shown} of ${rows.length}` : "";
    });
  }

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const source = byId(button.dataset.copy);
      let done = true;
      try {
        await navigator.clipboard.writeText(source.textContent);
      } catch {
        // Pages from disk may lack the clipboard: select, and copy the old way.
        const range = document.createRange();
        range.selectNodeContents(source);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        done = document.execCommand("copy");
      }
      button.textContent = done ? "copied" : "selected";
      setTimeout(() => (button.textContent = "copy"), 1600);
    });
  }
})();
