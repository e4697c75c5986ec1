// Draws what Python sends and says what was touched. Every number and position comes from there.

const OKABE_ITO = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999"];
const VIRIDIS = ["#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const PACE = 700; // milliseconds between two steps of playing
const HIGH = 480; // pixels of W that are high enough
const DENSE = 12; // columns of numbers above which they are small
const IDLE = 800; // milliseconds without a change before times are measured

const CONTROLS = [
  ["size height", "H_in", "rows of the input"],
  ["size width", "W_in", "columns of the input"],
  ["in_channels", "C_in", "channels of the input"],
  ["out_channels", "C_out", "filters"],
  ["kernel_size height", "k_h", "rows of the kernel"],
  ["kernel_size width", "k_w", "columns of the kernel"],
  ["stride height", "s_h", "stride of rows"],
  ["stride width", "s_w", "stride of columns"],
  ["padding", "padding", "padding"],
  ["padding_mode", "mode", "padding mode"],
  ["dilation height", "d_h", "dilation of rows"],
  ["dilation width", "d_w", "dilation of columns"],
  ["groups", "groups", "groups"],
];

const show = (value) => (typeof value !== "number" || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3))));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function bytes(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024) return `${show(count)} ${unit}`;
    count /= 1024;
  }
  return `${show(count)} TiB`;
}

function duration(seconds) {
  return seconds < 1e-3 ? `${show(seconds * 1e6)} µs` : `${show(seconds * 1e3)} ms`;
}

// One colour a tap: eight apart where they suffice, else along a scale; and a text colour that shows on it.
function colours(count) {
  if (count <= OKABE_ITO.length) return OKABE_ITO.slice(0, count);
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return Array.from({ length: count }, (_, tap) => {
    const place = (tap / (count - 1)) * (VIRIDIS.length - 1);
    const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
    const [from, to] = [parts(VIRIDIS[low]), parts(VIRIDIS[low + 1])];
    const mixed = from.map((value, n) => Math.round(value + (to[n] - value) * (place - low)));
    return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  });
}

function textOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 130 ? "#000000" : "#ffffff";
}

function render({ model, el }) {
  const root = make("div", { className: "triconv", role: "group", ariaLabel: "A convolution to touch" });
  const controls = make("div", { className: "triconv-controls" });
  const player = make("div", { className: "triconv-player" });
  const says = make("p", { className: "triconv-says", ariaLive: "polite" });
  const panels = make("div", { className: "triconv-panels" });
  root.append(controls, player, says, panels);
  el.append(root);

  const cells = { input: new Map(), output: new Map(), filter: new Map() };
  let palette = [];
  let playing = null;
  let waiting = null;

  const select = (...selected) => {
    model.set("selected", selected);
    model.save_changes();
  };

  // --- controls and player ---

  function drawControls() {
    const choices = model.get("choices");
    const fields = CONTROLS.map(([key, symbol, words]) => {
      const [name, along] = key.split(" ");
      const axis = along === "width" ? 1 : 0;
      const present = along ? model.get(name)[axis] : model.get(name);
      const options = choices[key].map((value) =>
        make("option", { value: JSON.stringify(value), selected: same(value, present) }, typeof value === "object" ? JSON.stringify(value) : String(value)),
      );
      const field = make("select", { title: words, disabled: options.length < 2, "data-control": key, ariaLabel: words }, ...options);
      field.addEventListener("change", () => {
        const value = JSON.parse(field.value);
        const pair = along && [...model.get(name)];
        if (along) pair[axis] = value;
        model.set(name, along ? pair : value);
        model.save_changes();
      });
      return make("label", {}, make("span", {}, symbol), field);
    });
    const focused = controls.contains(document.activeElement) && document.activeElement.dataset.control;
    controls.replaceChildren(...fields);
    if (focused) controls.querySelector(`[data-control="${focused}"]`)?.focus();
  }

  function step(by) {
    const [height, width, filters] = model.get("panels").output.shape;
    const lit = model.get("lit");
    const total = height * width * filters;
    const [i, j, m] = lit.at;
    const before = lit.kind === "output" ? (m * height + i) * width + j : by > 0 ? -1 : total;
    const next = (before + by + total) % total;
    select("output", Math.floor(next / width) % height, next % width, Math.floor(next / (width * height)));
  }

  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(() => step(1), PACE) : null;
    toggle.textContent = on ? "❚❚ Pause" : "▶ Play";
    toggle.ariaPressed = String(on);
  }

  const button = (text, words, act) => {
    const made = make("button", { type: "button", title: words, ariaLabel: words }, text);
    made.addEventListener("click", act);
    return made;
  };
  const back = button("◀ Back", "the output before", () => (play(false), step(-1)));
  const toggle = button("▶ Play", "slide the patch over the input", () => play(!playing));
  const forth = button("Next ▶", "the next output", () => (play(false), step(1)));
  player.append(back, toggle, forth);

  // --- grids of numbers ---

  function grid(kind, name, channel, rows, inside) {
    const body = rows.map((row, r) =>
      make("tr", { role: "row" }, ...row.map((value, c) => {
        const padding = inside && (r < inside[0] || c < inside[1] || r >= inside[0] + inside[2] || c >= inside[1] + inside[3]);
        const cell = make(
          "td",
          { role: "gridcell", tabIndex: r || c ? -1 : 0, className: padding ? "padding" : "", ariaLabel: `${name}[${r}, ${c}, ${channel}] = ${show(value)}${padding ? ", padding" : ""}` },
          show(value),
        );
        cell.dataset.at = [kind, r, c, channel].join(" ");
        cells[kind].set([r, c, channel].join(" "), cell);
        return cell;
      })),
    );
    const table = make("table", { role: "grid", ariaLabel: `${name}, channel ${channel}` }, make("tbody", {}, ...body));
    const touch = (cell) => {
      const [, r, c, n] = cell.dataset.at.split(" ").map(Number);
      play(false);
      select(kind, r, c, n);
    };
    table.addEventListener("click", (event) => event.target.dataset.at && touch(event.target));
    table.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const [, r, c] = event.target.dataset.at.split(" ").map(Number);
      if (event.key === "Enter" || event.key === " ") touch(event.target);
      else if (steps[event.key]) {
        const [down, right] = steps[event.key];
        const next = cells[kind].get([r + down, c + right, channel].join(" "));
        if (next) {
          event.target.tabIndex = -1;
          next.tabIndex = 0;
          next.focus();
        }
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    return make("figure", { className: rows[0].length > DENSE ? "dense" : "" }, table, make("figcaption", {}, kind === "output" ? `m = ${channel}` : `channel ${channel}`));
  }

  function section(title, hint, ...children) {
    const heading = make("h3", {}, title);
    return make("section", {}, heading, make("p", { className: "hint" }, hint), ...children);
  }

  const written = make("div", { className: "triconv-written" });
  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const matrixSays = make("p", { className: "hint" });
  const inverse = make("div", { className: "triconv-inverse" });
  const costs = make("div", { className: "triconv-costs" });

  function drawPanels() {
    const { input, inside, filters, taps, bias, output, sizes } = model.get("panels");
    for (const map of Object.values(cells)) map.clear();
    palette = colours(taps.flat(2).length);
    const ofFilter = filters.values.map((channels, m) =>
      make("figure", {}, ...channels.map((rows, c) =>
        make("table", { ariaLabel: `filter ${m}, channel ${c}` }, make("tbody", {}, ...rows.map((row, u) =>
          make("tr", {}, ...row.map((value, v) => {
            const cell = make("td", { ariaLabel: `K${m}[${u}, ${v}, ${c}] = ${show(value)}` }, show(value));
            cells.filter.set(`${m} ${taps[c][u][v]}`, cell);
            return cell;
          })),
        ))),
      ), make("figcaption", {}, `m = ${m}, b = ${show(bias[m])}`)),
    );
    const wide = (made) => (made.classList.add("wide"), made);
    panels.replaceChildren(
      section("X_pad", `the input with its padding, ${input.shape.join(" × ")}; touch a pixel`, make("div", { className: "grids" }, ...input.values.map((rows, c) => grid("input", "X_pad", c, rows, inside)))),
      section("K", `the filters, ${filters.shape.join(" × ")}`, make("div", { className: "grids" }, ...ofFilter)),
      section("Y", `the output, ${output.shape.join(" × ")}; touch a number`, make("div", { className: "grids" }, ...output.values.map((rows, m) => grid("output", "Y", m, rows))), ...sizes.map((line) => make("p", { className: "hint" }, line))),
      section("x_ij · k_m", "the patch and the filter, flattened the same way: a row of im2col's matrix times a column of the filters'", written),
      section("W", "vec(Y) = W vec(X_pad) + b: a colour for each tap; touch a row", canvas, matrixSays),
      section("Which patches hold a pixel?", "(i, j, u, v): the pixel is X_patch[i, j][u, v]; touch one", inverse),
      section("Cost", "of a call by each of the three", costs),
    );
    wide(written.parentElement);
    canvas.parentElement.classList.add("matrix");
    wide(costs.parentElement);
  }

  // --- what is lit ---

  function paint(cell, tap) {
    if (!cell) return;
    cell.classList.add("lit");
    cell.dataset.tap = tap;
    cell.style.background = palette[tap];
    cell.style.color = textOn(palette[tap]);
  }

  function drawLit() {
    const lit = model.get("lit");
    for (const map of Object.values(cells)) {
      for (const cell of map.values()) {
        cell.classList.remove("lit", "near", "chosen");
        cell.removeAttribute("style");
        delete cell.dataset.tap;
      }
    }
    const chosen = cells[lit.kind].get(lit.at.join(" "));
    chosen?.classList.add("chosen");
    const pressed = inverse.contains(document.activeElement); // a button that is about to go
    says.textContent = lit.says;
    if (lit.kind === "output") {
      for (const [r, c, channel, tap] of lit.cells) paint(cells.input.get([r, c, channel].join(" ")), tap);
      for (const [, , , tap] of lit.cells) paint(cells.filter.get(`${lit.at[2]} ${tap}`), tap);
      drawWritten(lit);
      inverse.replaceChildren(make("p", {}, "touch a pixel of X_pad"));
    } else {
      for (const [i, j, m, tap] of lit.cells) {
        paint(cells.output.get([i, j, m].join(" ")), tap);
        paint(cells.filter.get(`${m} ${tap}`), tap);
      }
      for (const [r, c, count] of lit.near) {
        const cell = cells.input.get([r, c, lit.at[2]].join(" "));
        cell.classList.add("near");
        cell.style.setProperty("--share", `${Math.round(20 + (45 * count) / lit.patches.length)}%`);
      }
      written.replaceChildren(make("p", {}, "touch an output of Y"));
      const listed = lit.patches.map((place) => {
        const button = make("button", { title: `show Y[${place[0]}, ${place[1]}, ${lit.first}]` }, `(${place.join(", ")})`);
        button.addEventListener("click", () => (play(false), select("output", place[0], place[1], lit.first)));
        return make("li", {}, button);
      });
      inverse.replaceChildren(listed.length ? make("ol", {}, ...listed) : make("p", {}, "none"));
    }
    if (pressed) chosen?.focus();
    for (const panel of panels.querySelectorAll(".grids")) bringIntoView(panel);
    drawMatrix();
  }

  // Scrolls a panel, never the page.
  function bringIntoView(panel) {
    const cell = panel.querySelector(".chosen") || panel.querySelector(".lit");
    if (!cell) return;
    const [inner, outer] = [cell.getBoundingClientRect(), panel.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) panel.scrollTop += inner.top - outer.top - outer.height / 3;
    if (inner.left < outer.left || inner.right > outer.right) panel.scrollLeft += inner.left - outer.left - outer.width / 3;
  }

  function drawWritten(lit) {
    const line = (name, values) =>
      make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value, tap) => {
        const cell = make("td", {}, typeof value === "string" ? value : show(value));
        cell.style.backgroundColor = palette[tap];
        cell.style.color = textOn(palette[tap]);
        return cell;
      }));
    const [i, j, m] = lit.at;
    const table = make("table", {}, make("tbody", {}, line(`x_${i}${j}`, lit.x), line(`k_${m}`, lit.k)));
    written.replaceChildren(make("div", { className: "scroll", tabIndex: 0, ariaLabel: "the two vectors" }, table), make("p", { className: "sum" }, `Y[${i}, ${j}, ${m}] = ${lit.written}`));
  }

  // --- W ---

  function drawMatrix() {
    const W = model.get("matrix");
    const lit = model.get("lit");
    const [height, width] = W.shape;
    const at = lit.kind === "output" ? `row ${lit.row}` : `column ${lit.column}`;
    canvas.ariaLabel = `W, ${height} rows and ${width} columns, ${W.entries} entries; lit: ${at}`;
    matrixSays.textContent = `${height} × ${width}, ${W.entries} entries (${show((100 * W.entries) / (height * width))} %); lit: ${at}`;
    canvas.hidden = !W.rows;
    if (canvas.hidden) {
      matrixSays.textContent += "; too many entries to be drawn";
      return;
    }
    const room = Math.max(240, (canvas.parentElement?.clientWidth || 640) - 24);
    const scale = Math.max(1, Math.min(14, Math.floor(room / width), Math.max(3, Math.floor(HIGH / height))));
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    const [rows, columns, taps] = ["rows", "columns", "taps"].map((name) => {
      const view = W[name];
      return new Int32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    });
    for (let n = 0; n < rows.length; n++) {
      const shown = lit.kind === "output" ? rows[n] === lit.row : columns[n] === lit.column;
      context.globalAlpha = shown ? 1 : 0.4;
      context.fillStyle = palette[taps[n]];
      context.fillRect(columns[n] * scale, rows[n] * scale, scale, scale);
    }
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(root).color;
    context.lineWidth = Math.max(1, scale / 6);
    if (lit.kind === "output") context.strokeRect(0, lit.row * scale, canvas.width, scale);
    else context.strokeRect(lit.column * scale, 0, scale, canvas.height);
  }

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const [height, width] = model.get("matrix").shape;
    play(false);
    if (model.get("lit").kind === "output") select("row", Math.min(height - 1, Math.floor(((event.clientY - box.top) / box.height) * height)));
    else select("column", Math.min(width - 1, Math.floor(((event.clientX - box.left) / box.width) * width)));
  });
  canvas.addEventListener("keydown", (event) => {
    const lit = model.get("lit");
    const [height, width] = model.get("matrix").shape;
    const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    if (lit.kind === "output") select("row", (lit.row + by + height) % height);
    else select("column", (lit.column + by + width) % width);
  });

  // --- costs ---

  function drawCosts() {
    const seconds = model.get("seconds");
    const head = ["method", "multiply-adds", "moved beside input and output", "entries of W", "workspace", "packed", "measured"];
    const rows = model.get("costs").map((cost) => [
      cost.method,
      cost.operations.toLocaleString(),
      bytes(cost.bytes),
      cost.entries === null ? "none" : cost.entries.toLocaleString(),
      bytes(cost.workspace),
      bytes(cost.packed),
      cost.method in seconds ? duration(seconds[cost.method]) : "…",
    ]);
    const line = (tag, texts) => make("tr", {}, ...texts.map((text, n) => make(n ? tag : "th", n ? {} : { scope: "row" }, text)));
    costs.replaceChildren(make("div", { className: "scroll", tabIndex: 0, ariaLabel: "costs" }, make("table", {}, make("thead", {}, line("th", head)), make("tbody", {}, ...rows.map((texts) => line("td", texts))))));
  }

  function measureSoon() {
    clearTimeout(waiting);
    waiting = setTimeout(() => model.send("measure"), IDLE);
  }

  // --- what Python changes ---

  const all = () => {
    drawControls();
    drawPanels();
    drawCosts();
    drawLit();
    measureSoon();
  };
  let due = false;
  const soon = (draw) => () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
  const fresh = soon(all);
  let pending = false;
  const lit = () => {
    if (pending || due) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      if (!due) drawLit();
    });
  };
  for (const name of ["panels", "choices", ...new Set(CONTROLS.map(([key]) => key.split(" ")[0]))]) model.on(`change:${name}`, fresh);
  model.on("change:lit", lit);
  model.on("change:seconds", drawCosts);
  const observer = new ResizeObserver(() => drawMatrix());
  all();
  observer.observe(root);
  return () => {
    play(false);
    clearTimeout(waiting);
    observer.disconnect();
  };
}

export default { render };
