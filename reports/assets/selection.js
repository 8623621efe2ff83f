"use strict";
// What the lasso needs to know of no page: which points lie inside a loop, and a table as a CSV file.
const selection = (function () {
  // 1 for each point inside the closed polygon `loop` (x0, y0, x1, y1, ...), else 0. By winding number (Sunday 2001),
  // so that a loop drawn past its beginning has no hole there. A point only meets the edges of its band of y: 10^5
  // points in a loop of hundreds of corners take milliseconds.
  const BANDS = 64;
  function inside(loop, x, y) {
    const found = new Uint8Array(x.length);
    let left = Infinity, right = -Infinity, bottom = Infinity, top = -Infinity;
    for (let k = 0; k < loop.length; k += 2) {
      left = Math.min(left, loop[k]); right = Math.max(right, loop[k]);
      bottom = Math.min(bottom, loop[k + 1]); top = Math.max(top, loop[k + 1]);
    }
    if (!(right > left && top > bottom)) return found;
    const band = (at) => Math.min(BANDS - 1, Math.floor((BANDS * (at - bottom)) / (top - bottom)));
    const edges = Array.from({ length: BANDS }, () => []);
    for (let k = 0; k < loop.length; k += 2) {
      const next = (k + 2) % loop.length, x0 = loop[k], y0 = loop[k + 1], x1 = loop[next], y1 = loop[next + 1];
      for (let b = band(Math.min(y0, y1)); b <= band(Math.max(y0, y1)); b++) edges[b].push(x0, y0, x1, y1);
    }
    for (let i = 0; i < x.length; i++) {
      const px = x[i], py = y[i];
      if (!(px >= left && px <= right && py >= bottom && py <= top)) continue;
      const near = edges[band(py)];
      let winding = 0;
      for (let k = 0; k < near.length; k += 4) {
        const y0 = near[k + 1], y1 = near[k + 3];
        if (y0 <= py === y1 <= py) continue; // the edge does not cross the point's height
        const side = (near[k + 2] - near[k]) * (py - y0) - (px - near[k]) * (y1 - y0);
        if (y0 <= py && side > 0) winding++;
        else if (y1 <= py && side < 0) winding--;
      }
      if (winding) found[i] = 1;
    }
    return found;
  }

  // A text that a spreadsheet would run as a formula gets an apostrophe before it, by which spreadsheets leave it alone
  // and other programs see what was done (OWASP, "CSV injection"); full-width signs and leading control characters are
  // formulas to some of them too. A plain number ("-5", as an id may be) is no formula and stays, so that it still joins.
  const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  function textCell(text) {
    const harmless = FORMULA.test(text) && !NUMBER.test(text) ? "'" + text : text;
    return /[",\r\n]|^\s|\s$/.test(harmless) ? '"' + harmless.replaceAll('"', '""') + '"' : harmless;
  }

  // The fewest digits that give the same float32 again; nothing for NaN, which is unknown.
  function numberCell(value) {
    if (Number.isNaN(value)) return "";
    for (let digits = 6; digits < 9; digits++) {
      const short = Number(value.toPrecision(digits));
      if (Math.fround(short) === value) return String(short);
    }
    return String(Number(value.toPrecision(9)));
  }

  // Each name once, as TOPCAT does it: x, x_1, x_2; without regard to case, since it and databases have none.
  function distinct(names) {
    const taken = new Set();
    return names.map((name) => {
      let free = name;
      for (let k = 1; taken.has(free.toLowerCase()); k++) free = name + "_" + k;
      taken.add(free.toLowerCase());
      return free;
    });
  }

  // RFC 4180. `columns` hold a name and cell(row), a finished cell. No byte order mark: it would become part of the
  // first column's name in TOPCAT and in Python's csv.
  function csv(columns, rows) {
    const lines = [distinct(columns.map((column) => column.name)).map(textCell).join(",")];
    for (const row of rows) lines.push(columns.map((column) => column.cell(row)).join(","));
    return lines.join("\r\n") + "\r\n";
  }

  // "Chest radiographs" gives chest-radiographs-selection.csv; letters of every script stay.
  function fileName(title) {
    const words = title.normalize("NFC").toLowerCase().replace(/[^\p{L}\p{M}\p{N}]+/gu, "-").replace(/^-+/, "");
    return (Array.from(words).slice(0, 60).join("").replace(/-+$/, "") || "objects") + "-selection.csv";
  }

  function save(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the browser reads it after this call returns
  }

  return { inside, textCell, numberCell, csv, fileName, save };
})();
