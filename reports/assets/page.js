"use strict";
(function () {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const canvas = element("scatter");
  const context = canvas.getContext("2d");
  const frame = element("frame");
  const tooltip = element("tooltip");
  const picture = element("tooltip-picture");
  const message = element("map-message");

  // Okabe & Ito's colours and two of Tol's; as many classes as can be told apart, the others share one.
  // Blue and green are lighter on a dark page, so they are the page's.
  const PALETTE = ["--blue", "#e69f00", "--green", "#cc79a7", "#8fd0f5", "#d55e00", "#999933", "#aa4499", "#c9b800"];
  const OTHER = "#8a7f78";
  const REACH = 12; // CSS pixels between the pointer and the dot it picks

  let ids, x, y, tile, order;
  let column = null; // the shown column, with its unpacked values
  let colours = new Uint32Array(0); // 0xRRGGBB per object
  let hidden = new Set(); // legend entries switched off, by entry number
  let entry = null; // legend entry of each object, for categories
  let view = { scale: 1, x: 0, y: 0 };
  let whole = view;
  let picked = -1;
  let kept = false;
  let pixelRatio = 1;
  let image = null; // the dots; rings and the lasso's line are drawn over it
  let selected = null; // 1 or 0 per object, or null while none is selected
  let lassoing = false;
  let loop = null; // the line being drawn, x0, y0, x1, y1, ... on the map, so that it stays there under zoom
  const rankOf = new Map(data.anomalies);
  const troubleOf = new Map(data.trouble.map(([row, rank, kinds]) => [row, { rank, kinds }]));
  const sheets = [];

  async function unpack(text) {
    const packed = atob(text);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  const rgb = (hex) => parseInt(hex.slice(1), 16);
  const viridis = (t) => parseInt(data.viridis.substr(6 * Math.round(255 * Math.min(1, Math.max(0, t))), 6), 16);
  const theme = (name) => rgb(getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  const show = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "unknown");
  const paletteColour = (k) => (PALETTE[k].startsWith("--") ? theme(PALETTE[k]) : rgb(PALETTE[k]));
  const css = (colour) => "#" + colour.toString(16).padStart(6, "0");

  // Colours ------------------------------------------------------------------------------------------------------

  async function unpackColumn(item) {
    if (item.unpacked) return;
    const buffer = await unpack(item.values);
    item.unpacked = item.kind === "categorical" ? new Int32Array(buffer) : new Float32Array(buffer);
  }

  async function choose(number) {
    const chosen = data.columns[number];
    if (chosen) await unpackColumn(chosen);
    column = chosen || null;
    hidden = new Set();
    paint();
    legend();
    draw();
    describe();
    countSelected();
  }

  function paint() {
    colours = new Uint32Array(data.count).fill(paletteColour(0));
    entry = null;
    if (!column) return;
    const unknown = theme("--unknown");
    const values = column.unpacked;
    if (column.kind === "categorical") {
      const shown = shownClasses();
      const palette = PALETTE.map((_, k) => paletteColour(k));
      entry = new Int32Array(data.count);
      for (let i = 0; i < data.count; i++) {
        entry[i] = values[i] < 0 ? -1 : Math.min(values[i], shown);
        colours[i] = entry[i] < 0 ? unknown : entry[i] < shown ? palette[entry[i]] : rgb(OTHER);
      }
      return;
    }
    const span = column.high - column.low || 1;
    for (let i = 0; i < data.count; i++) {
      colours[i] = Number.isNaN(values[i]) ? unknown : viridis((values[i] - column.low) / span);
    }
  }

  // All classes if they fit the palette, else one place is kept for the rest.
  function shownClasses() {
    return column.names.length <= PALETTE.length ? column.names.length : PALETTE.length - 1;
  }

  function legend() {
    const box = element("legend");
    box.replaceChildren();
    if (!column) return;
    const heading = document.createElement("h3");
    heading.textContent = column.name;
    box.append(heading);
    if (column.kind === "categorical") {
      const shown = shownClasses();
      for (let k = 0; k < shown; k++) box.append(toggle(k, css(paletteColour(k)), column.names[k], column.counts[k]));
      const rest = column.names.length - shown;
      if (rest) box.append(toggle(shown, OTHER, rest + " other classes", column.counts.slice(shown).reduce((a, b) => a + b)));
      if (column.unknown) box.append(toggle(-1, "var(--unknown)", "unknown", column.unknown));
      return;
    }
    if (Number.isFinite(column.low)) {
      const ramp = document.createElement("div");
      ramp.className = "ramp";
      const stops = Array.from({ length: 17 }, (_, k) => css(viridis(k / 16)));
      ramp.style.background = "linear-gradient(to right, " + stops.join(",") + ")";
      const ends = document.createElement("div");
      ends.className = "ends";
      for (const [bound, extreme, sign] of [[column.low, column.min, "≤ "], [column.high, column.max, "≥ "]]) {
        const end = document.createElement("span");
        end.textContent = (bound === extreme ? "" : sign) + show(bound);
        ends.append(end);
      }
      box.append(ramp, ends);
      if (column.low !== column.min || column.high !== column.max) {
        const note = document.createElement("p");
        note.className = "soft";
        note.textContent = `The scale holds the middle 98 %; values run from ${show(column.min)} to ${show(column.max)}.`;
        box.append(note);
      }
    }
    if (column.unknown) box.append(toggle(-1, "var(--unknown)", "unknown", column.unknown));
  }

  function toggle(number, colour, name, count) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(number)));
    button.title = "Show or hide";
    for (const kind of ["swatch", "name", "count"]) {
      const part = document.createElement("span");
      part.className = kind;
      if (kind === "swatch") part.style.background = colour;
      else part.textContent = kind === "name" ? name : count.toLocaleString("en");
      button.append(part);
    }
    button.addEventListener("click", () => {
      if (!hidden.delete(number)) hidden.add(number);
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      draw();
      countSelected();
    });
    return button;
  }

  function isHidden(i) {
    if (!hidden.size) return false;
    return hidden.has(entry ? entry[i] : Number.isNaN(column.unpacked[i]) ? -1 : 0);
  }

  // Drawing: dots are blended into an ImageData, which stays quick with 10^5 objects and without a GPU -------------

  const screenX = (i) => (x[i] - view.x) * view.scale + canvas.width / 2;
  const screenY = (i) => (view.y - y[i]) * view.scale + canvas.height / 2;

  function dotRadius() {
    const base = Math.min(5, 9 / Math.pow(data.count, 0.14));
    return Math.min(7, base * Math.pow(Math.max(1, view.scale / whole.scale), 0.25)) * pixelRatio;
  }

  function draw() {
    drawDots();
    drawOver();
  }

  function drawDots() {
    if (!order || !canvas.width) return;
    const width = canvas.width, height = canvas.height;
    if (!image || image.width !== width || image.height !== height) image = context.createImageData(width, height);
    const pixels = image.data;
    const paper = theme("--map");
    new Uint32Array(pixels.buffer).fill((0xff000000 | ((paper & 255) << 16) | (paper & 0xff00) | (paper >> 16)) >>> 0);
    const radius = dotRadius(), reach = Math.ceil(radius + 0.5);
    const dot = []; // dx, dy, opacity of 256
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const opacity = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy))) * 0.86;
        if (opacity > 0) dot.push(dx, dy, Math.round(256 * opacity));
      }
    }
    // Unknown values first, so that they lie below; the rest in a fixed shuffle, so that no class covers another. Of a
    // selection, the others are faded and lie below. They are mixed with the paper, since many see-through dots on one
    // another would be as strong as before.
    const passOf = (i) => (selected && selected[i] ? 2 : 0) + (column && isUnknown(i) ? 0 : 1);
    for (let pass = 0; pass < (selected ? 4 : 2); pass++) {
      const faded = selected && pass < 2;
      for (const i of order) {
        if (pass !== passOf(i) || isHidden(i)) continue;
        const px = Math.round(screenX(i)), py = Math.round(screenY(i));
        if (px < reach || py < reach || px >= width - reach || py >= height - reach) continue;
        const colour = faded ? mixed(colours[i], paper, 0.25) : colours[i];
        const red = colour >> 16, green = (colour >> 8) & 255, blue = colour & 255;
        for (let k = 0; k < dot.length; k += 3) {
          const at = 4 * ((py + dot[k + 1]) * width + px + dot[k]), opacity = dot[k + 2];
          pixels[at] += ((red - pixels[at]) * opacity) >> 8;
          pixels[at + 1] += ((green - pixels[at + 1]) * opacity) >> 8;
          pixels[at + 2] += ((blue - pixels[at + 2]) * opacity) >> 8;
        }
      }
    }
  }

  function drawOver() {
    if (!image) return;
    context.putImageData(image, 0, 0);
    const ink = css(theme("--ink")), radius = dotRadius();
    if (element("rings").checked) for (const row of rankOf.keys()) if (!isHidden(row)) ring(row, radius + 3 * pixelRatio, ink, 1.2);
    if (picked >= 0) ring(picked, radius + 4 * pixelRatio, ink, 2.4);
    if (loop) line(loop, ink);
  }

  function mixed(colour, other, share) {
    const part = (shift) => Math.round(((colour >> shift) & 255) * share + ((other >> shift) & 255) * (1 - share)) << shift;
    return part(16) | part(8) | part(0);
  }

  function isUnknown(i) {
    return entry ? entry[i] < 0 : Number.isNaN(column.unpacked[i]);
  }

  function ring(i, radius, colour, line) {
    context.beginPath();
    context.arc(screenX(i), screenY(i), radius, 0, 2 * Math.PI);
    context.lineWidth = line * pixelRatio;
    context.strokeStyle = colour;
    context.stroke();
  }

  function line(corners, colour) {
    context.beginPath();
    for (let k = 0; k < corners.length; k += 2) {
      context.lineTo((corners[k] - view.x) * view.scale + canvas.width / 2, (view.y - corners[k + 1]) * view.scale + canvas.height / 2);
    }
    context.lineWidth = 1.6 * pixelRatio;
    context.strokeStyle = context.fillStyle = colour;
    context.stroke();
    context.globalAlpha = 0.1;
    context.fill("nonzero");
    context.globalAlpha = 1;
  }

  // In the next frame; the dots only where they have changed, which with 10^5 objects is most of the work.
  let frameAsked = false, dotsAsked = false;
  function drawSoon(dots = true) {
    dotsAsked = dotsAsked || dots;
    if (frameAsked) return;
    frameAsked = true;
    requestAnimationFrame(() => {
      if (dotsAsked) drawDots();
      frameAsked = dotsAsked = false;
      drawOver();
      place();
    });
  }

  // The view -----------------------------------------------------------------------------------------------------

  function fit() {
    let left = Infinity, right = -Infinity, bottom = Infinity, top = -Infinity;
    for (let i = 0; i < data.count; i++) {
      left = Math.min(left, x[i]); right = Math.max(right, x[i]);
      bottom = Math.min(bottom, y[i]); top = Math.max(top, y[i]);
    }
    const scale = 0.9 * Math.min(canvas.width / (right - left || 1), canvas.height / (top - bottom || 1));
    return { scale, x: (left + right) / 2, y: (bottom + top) / 2 };
  }

  function resize() {
    const box = frame.getBoundingClientRect();
    const untouched = view === whole;
    pixelRatio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(box.width * pixelRatio));
    canvas.height = Math.max(1, Math.round(box.height * pixelRatio));
    const before = whole.scale;
    whole = fit();
    view = untouched ? whole : { scale: (view.scale * whole.scale) / before, x: view.x, y: view.y };
    drawSoon();
  }

  const onMap = (px, py) => [(px - canvas.width / 2) / view.scale + view.x, view.y - (py - canvas.height / 2) / view.scale];

  function zoom(factor, px = canvas.width / 2, py = canvas.height / 2) {
    const scale = Math.min(400 * whole.scale, Math.max(0.5 * whole.scale, view.scale * factor));
    const dx = px - canvas.width / 2, dy = py - canvas.height / 2;
    const move = 1 / view.scale - 1 / scale;
    view = { scale, x: view.x + dx * move, y: view.y - dy * move };
    drawSoon();
  }

  function pan(dx, dy) {
    view = { scale: view.scale, x: view.x - dx / view.scale, y: view.y + dy / view.scale };
    drawSoon();
  }

  // One object ---------------------------------------------------------------------------------------------------

  function nearest(px, py) {
    let best = -1, distance = (REACH * pixelRatio) ** 2;
    for (let i = 0; i < data.count; i++) {
      const dx = screenX(i) - px, dy = screenY(i) - py, here = dx * dx + dy * dy;
      if (here < distance && !isHidden(i)) { best = i; distance = here; }
    }
    return best;
  }

  function pick(i, keep) {
    if (i === picked && keep === kept) return;
    picked = i;
    kept = keep && i >= 0;
    describe();
    drawSoon(false);
  }

  function describe() {
    tooltip.hidden = picked < 0;
    tooltip.classList.toggle("kept", kept);
    if (picked < 0) return;
    element("tooltip-id").textContent = ids[picked];
    element("tooltip-name").hidden = element("tooltip-value").hidden = !column;
    if (column) {
      const value = column.unpacked[picked];
      element("tooltip-name").textContent = column.name;
      element("tooltip-value").textContent = entry ? (value < 0 ? "unknown" : column.names[value]) : show(value);
    }
    const rank = rankOf.get(picked);
    element("tooltip-rank-name").hidden = element("tooltip-rank").hidden = rank === undefined;
    element("tooltip-rank").textContent = rank === undefined ? "" : "rank " + rank;
    const trouble = troubleOf.get(picked);
    element("tooltip-trouble-name").hidden = element("tooltip-trouble").hidden = trouble === undefined;
    element("tooltip-trouble").textContent = trouble === undefined ? "" : trouble.kinds;
    picture.hidden = tile[picked] < 0;
    if (!picture.hidden) showPicture(picked);
    place();
  }

  function showPicture(i) {
    const side = data.sheets.tile, number = Math.floor(tile[i] / data.sheets.tiles), within = tile[i] % data.sheets.tiles;
    if (!sheets[number]) {
      sheets[number] = new Image();
      sheets[number].src = "data:image/webp;base64," + data.sheets.images[number];
    }
    const sheet = sheets[number];
    const brush = picture.getContext("2d");
    brush.clearRect(0, 0, side, side);
    if (!sheet.complete) { sheet.onload = () => { if (picked >= 0 && tile[picked] >= 0) showPicture(picked); }; return; }
    const row = Math.floor(within / data.sheets.columns), position = within % data.sheets.columns;
    brush.drawImage(sheet, position * side, row * side, side, side, 0, 0, side, side);
  }

  function place() {
    if (picked < 0) return;
    const px = screenX(picked) / pixelRatio, py = screenY(picked) / pixelRatio;
    const width = tooltip.offsetWidth, height = tooltip.offsetHeight, room = frame.clientWidth, depth = frame.clientHeight;
    const left = px + 16 + width < room ? px + 16 : px - 16 - width;
    tooltip.style.left = Math.max(4, Math.min(left, room - width - 4)) + "px";
    tooltip.style.top = Math.max(4, Math.min(py - height / 2, depth - height - 4)) + "px";
  }

  function goTo(i) {
    view = { scale: Math.max(view.scale, 3 * whole.scale), x: x[i], y: y[i] };
    pick(i, true);
    drawSoon();
  }

  function find(text) {
    if (!text) { message.textContent = ""; pick(-1, false); return; }
    let found = ids.indexOf(text);
    if (found < 0) found = ids.findIndex((name) => name.startsWith(text));
    message.textContent = found < 0 ? "No object has an id that starts with this." : "";
    if (found < 0) pick(-1, false);
    else goTo(found);
  }

  // A selection -----------------------------------------------------------------------------------------------------

  function setLasso(on) {
    lassoing = on;
    loop = null;
    element("lasso").setAttribute("aria-pressed", String(on));
    frame.classList.toggle("lassoing", on);
    message.textContent = on ? "Draw round objects to select them. Shift adds, Escape leaves." : "";
    pick(-1, false);
    drawSoon(false);
  }

  function extend(point) {
    loop.push(...onMap(...point));
    drawSoon(false);
  }

  function selectInside(add) {
    const found = selection.inside(loop, x, y);
    for (let i = 0; i < data.count; i++) {
      if (isHidden(i)) found[i] = 0;
      if (add && selected && selected[i]) found[i] = 1;
    }
    select(found);
  }

  function select(found) {
    selected = found && found.includes(1) ? found : null;
    countSelected();
    drawSoon();
  }

  function countSelected() {
    let count = 0, unseen = 0;
    for (let i = 0; selected && i < data.count; i++) {
      count += selected[i];
      if (selected[i] && isHidden(i)) unseen++;
    }
    const number = (value) => value.toLocaleString("en");
    element("selected").textContent =
      (count ? number(count) : "None") + " of " + number(data.count) + (data.count === 1 ? " object" : " objects") + " selected" +
      (unseen ? ` (${number(unseen)} hidden by the legend)` : "");
    element("save").disabled = element("clear").disabled = !count;
  }

  // The selected objects in the catalog's order, with all that the page knows of them; unknown is an empty cell.
  async function saveSelected() {
    await Promise.all(data.columns.map(unpackColumn));
    const text = (value) => (value === undefined ? "" : selection.textCell(value));
    const rank = (i) => rankOf.get(i) ?? troubleOf.get(i)?.rank ?? "";
    const columns = [
      { name: "object_id", cell: (i) => text(ids[i]) },
      { name: "x", cell: (i) => selection.numberCell(x[i]) },
      { name: "y", cell: (i) => selection.numberCell(y[i]) },
      { name: "anomaly rank", cell: rank },
    ];
    if (troubleOf.size) columns.push({ name: "input trouble", cell: (i) => text(troubleOf.get(i)?.kinds) });
    for (const { name, kind, names, unpacked } of data.columns) {
      columns.push({ name, cell: kind === "categorical" ? (i) => text(names[unpacked[i]]) : (i) => selection.numberCell(unpacked[i]) });
    }
    const rows = [];
    for (let i = 0; selected && i < data.count; i++) if (selected[i]) rows.push(i);
    selection.save(selection.csv(columns, rows), selection.fileName(document.title));
  }

  // Hands --------------------------------------------------------------------------------------------------------

  function listen() {
    let drag = null;
    const at = (event) => [event.offsetX * pixelRatio, event.offsetY * pixelRatio];
    const isOther = (event) => drag && drag.draws && event.pointerId !== drag.pointer; // a second finger
    canvas.addEventListener("pointerdown", (event) => {
      if (lassoing && !(event.isPrimary && event.button === 0)) return; // another finger or button draws nothing
      drag = { x: event.clientX, y: event.clientY, moved: false, draws: lassoing, adds: event.shiftKey, pointer: event.pointerId };
      drag.begin = onMap(...at(event));
      if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (isOther(event)) return;
      if (drag && event.buttons) {
        const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
        if ((!drag.moved || drag.draws) && Math.hypot(dx, dy) < 4) return;
        if (drag.draws && !drag.moved) { loop = drag.begin; pick(-1, false); }
        Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
        if (!drag.draws) pan(dx * pixelRatio, dy * pixelRatio);
        else if (loop) extend(at(event)); // else Escape has dropped it
      } else if (!kept) pick(nearest(...at(event)), false);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (isOther(event)) return;
      if (drag && !drag.moved) pick(nearest(...at(event)), true);
      if (drag && loop) selectInside(drag.adds || event.shiftKey);
      drag = loop = null;
      drawSoon(false);
    });
    canvas.addEventListener("pointercancel", () => { drag = loop = null; drawSoon(false); });
    canvas.addEventListener("pointerleave", () => { if (!kept) pick(-1, false); });
    canvas.addEventListener("dblclick", (event) => zoom(2, ...at(event)));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
      event.preventDefault();
      zoom(Math.exp(-0.004 * event.deltaY * (event.deltaMode ? 30 : 1)), ...at(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = 60 * pixelRatio;
      const actions = {
        ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0),
        ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
        "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5),
        0: () => { view = whole; drawSoon(); }, l: () => setLasso(!lassoing), L: () => setLasso(!lassoing),
        Escape: () => (lassoing ? setLasso(false) : pick(-1, false)),
      };
      if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      actions[event.key]();
    });
    element("colour").addEventListener("change", (event) => choose(Number(event.target.value)));
    element("rings").addEventListener("change", () => drawSoon(false));
    element("lasso").addEventListener("click", () => setLasso(!lassoing));
    element("map").addEventListener("keydown", (event) => { if (event.key === "Escape" && lassoing) setLasso(false); });
    element("save").addEventListener("click", saveSelected);
    element("clear").addEventListener("click", () => {
      select(null);
      canvas.focus({ preventScroll: true }); // a button that is now disabled would lose the keyboard
    });
    element("find").addEventListener("input", (event) => find(event.target.value.trim()));
    element("zoom-in").addEventListener("click", () => zoom(1.5));
    element("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
    element("zoom-reset").addEventListener("click", () => { view = whole; drawSoon(); });
    for (const button of document.querySelectorAll("button[data-row]")) {
      button.addEventListener("click", () => {
        goTo(Number(button.dataset.row));
        frame.scrollIntoView({ block: "center" });
        canvas.focus({ preventScroll: true });
      });
    }
    // A dark page is printed light; the printer does not wait for a frame.
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      window.matchMedia(query).addEventListener("change", () => { paint(); legend(); draw(); });
    }
    new ResizeObserver(resize).observe(frame);
  }

  async function start() {
    const select = element("colour");
    data.columns.forEach((item, number) => select.add(new Option(item.name, String(number))));
    select.add(new Option("nothing", "-1"));
    element("rings-label").hidden = !rankOf.size;
    ids = JSON.parse(new TextDecoder().decode(await unpack(data.ids)));
    x = new Float32Array(await unpack(data.x));
    y = new Float32Array(await unpack(data.y));
    tile = new Int32Array(await unpack(data.tile));
    order = Uint32Array.from({ length: data.count }, (_, i) => i);
    let state = 1; // Fisher and Yates's shuffle with a fixed small generator (Park & Miller)
    for (let i = data.count - 1; i > 0; i--) {
      state = (state * 48271) % 2147483647;
      const j = state % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    resize();
    await choose(data.columns.length ? 0 : -1);
    listen();
    message.textContent = "";
    draw(); // at once: a page that is only photographed or printed may never be given a frame
    place();
    frame.dataset.ready = "yes";
  }

  start().catch((error) => {
    message.textContent = "The map could not be drawn (" + error.message + "); a browser of 2023 or later is needed.";
    throw error;
  });
})();
