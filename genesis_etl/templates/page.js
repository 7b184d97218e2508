"use strict";
// Shows one account, one region and one period of what the page holds, reads values out of pictures, and saves tables and
// pictures as files. Without this script everything stands there, of all accounts.
(() => {
  const form = document.querySelector(".filters form");
  if (!form) return;
  const accounts = form.querySelector("[name=account]");
  const by = form.querySelector("[name=by]");
  const pickers = [...form.querySelectorAll("[data-picks]")];
  const status = form.querySelector("[role=status]");
  const views = [...document.querySelectorAll("[data-account]")];
  const hide = (each, isHidden) => {
    if (each.hidden !== isHidden) each.hidden = isHidden;
  };

  const show = () => {
    const account = accounts ? accounts.value : "0";
    let region = "all";
    for (const picker of pickers) {
      const isMine = picker.dataset.picks === account;
      hide(picker, !isMine);
      if (isMine) region = picker.querySelector("select").value;
    }
    for (const view of views) hide(view, view.dataset.account !== account);
    const view = views[Number(account)];
    for (const part of view.querySelectorAll("[data-scope]")) hide(part, part.dataset.scope !== region);
    for (const part of view.querySelectorAll("[data-by]")) hide(part, part.dataset.by !== by.value);
    for (const cell of view.querySelectorAll("[data-column]")) hide(cell, region !== "all" && cell.dataset.column !== region);
    for (const row of view.querySelectorAll("[data-regions]")) {
      hide(row, region === "all" ? !("first" in row.dataset) : !row.dataset.regions.split(" ").includes(region));
    }
    const name = (select) => (select ? select.selectedOptions[0].textContent.trim() : "");
    const picker = pickers.find((each) => !each.hidden);
    const names = [name(accounts), name(picker && picker.querySelector("select")), `by ${by.value}`];
    status.textContent = names.filter(Boolean).join(", ") + " shown";
    for (const plot of view.querySelectorAll(".plot:not([role])")) prepare(plot);
  };

  // A picture is read like a slider: the pointer, or the arrow keys, choose a period, whose row the table holds.
  const prepare = (plot) => {
    const figure = plot.closest("figure");
    plot.setAttribute("role", "slider");
    plot.tabIndex = 0;
    plot.setAttribute("aria-label", `${figure.querySelector("h3").textContent}; arrow keys read the values`);
    plot.setAttribute("aria-valuemin", "0");
    plot.setAttribute("aria-valuenow", "0");
    plot.setAttribute("aria-valuetext", "no value chosen");
  };
  const periods = (plot) => {
    const { table, first, columns, newestFirst } = plot.closest("figure").dataset;
    const whole = document.getElementById(table);
    const heads = [...whole.tHead.rows[0].cells].map((each) => each.textContent.trim());
    const rows = [...whole.tBodies[0].rows];
    if (newestFirst !== undefined) rows.reverse();
    return { rows: rows.slice(Number(first)), heads, shown: columns.split("|").map((each) => heads.indexOf(each)).filter((each) => each > 0) };
  };
  const read = (plot, place) => {
    const { rows, heads, shown } = periods(plot);
    const chosen = Math.max(0, Math.min(rows.length - 1, place));
    const cells = rows[chosen].cells;
    const values = shown.map((each) => [heads[each], cells[each].textContent.trim()]).filter((each) => each[1] !== "–");
    const text = `${cells[0].textContent.trim()}: ${values.map(([head, value]) => (head === "basis" ? value : `${value} ${head}`)).join(", ")}`;
    plot.setAttribute("aria-valuemax", rows.length - 1);
    plot.setAttribute("aria-valuenow", chosen);
    plot.setAttribute("aria-valuetext", text);
    const rule = plot.querySelector(".rule");
    rule.setAttribute("transform", `translate(${LEFT + ((chosen + 0.5) * INNER) / rows.length})`);
    rule.classList.add("on");
    let reading = plot.querySelector(".reading");
    if (!reading) {
      reading = document.createElement("p");
      reading.className = "reading";
      reading.setAttribute("aria-hidden", "true");
      plot.append(reading);
    }
    reading.hidden = false;
    reading.textContent = text;
  };
  const leave = (plot) => {
    if (plot.contains(document.activeElement)) return;
    plot.querySelector(".rule").classList.remove("on");
    const reading = plot.querySelector(".reading");
    if (reading) reading.hidden = true;
  };
  const [LEFT, INNER, WIDTH] = document.querySelector("main").dataset.plot.split(" ").map(Number);
  const plotOf = (event) => (event.target.closest ? event.target.closest(".plot[role]") : null);
  const point = (event) => {
    const plot = plotOf(event);
    if (!plot) return;
    const box = plot.querySelector("svg").getBoundingClientRect();
    const { rows } = periods(plot);
    read(plot, Math.floor((((event.clientX - box.left) * WIDTH) / box.width - LEFT) / (INNER / rows.length)));
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("pointerout", (event) => {
    const plot = plotOf(event);
    if (plot && !plot.contains(event.relatedTarget)) leave(plot);
  });
  document.addEventListener("focusin", (event) => {
    const plot = event.target.classList.contains("plot") ? event.target : null;
    if (plot && plot.matches(":focus-visible")) read(plot, plot.getAttribute("aria-valuemax") ? Number(plot.getAttribute("aria-valuenow")) : Infinity);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.classList.contains("plot")) setTimeout(() => leave(event.target));
  });
  document.addEventListener("keydown", (event) => {
    const plot = plotOf(event);
    if (!plot) return;
    const now = Number(plot.getAttribute("aria-valuenow"));
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - 7, PageUp: now + 7, Home: 0, End: Infinity }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    read(plot, to);
  });

  // Numbers are saved as their command prints them; a text that a spreadsheet would run gets an apostrophe.
  const plain = (cell) => {
    const text = cell.dataset.v || cell.textContent.trim().replace(/\s+/g, " ");
    const bare = text.replace(/,/g, "").replace(/^\u2212/, "-").replace(/^[\u00b1+]/, "");
    const isNumber = cell.tagName === "TD" && (cell.classList.contains("n") || cell.closest(".numbers"));
    if (isNumber && /^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(bare)) return bare;
    return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text === "–" ? "" : text;
  };
  const csv = (table) => {
    const rows = [...table.rows].filter((row) => !row.hidden);
    const hasId = rows.some((row) => row.dataset.id);
    const lines = rows.map((row, place) => {
      const cells = [...row.cells].filter((cell) => !cell.hidden && !cell.querySelector("svg")).map(plain);
      return hasId ? [...cells, place ? row.dataset.id : "image_id"] : cells;
    });
    const width = Math.max(...lines.map((line) => line.length));
    const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    return lines.map((line) => [...line, ...Array(width - line.length).fill("")].map(quoted).join(",")).join("\r\n") + "\r\n";
  };
  const drawing = (svg) => {
    const copy = svg.cloneNode(true);
    copy.querySelector(".rule").remove();
    const [, , width, height] = svg.getAttribute("viewBox").split(" ");
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width * 2);
    copy.setAttribute("height", height * 2);
    const colours = getComputedStyle(document.documentElement);
    const valued = (rule) => rule.replace(/var\((--[a-z0-9]+)\)/g, (_, key) => colours.getPropertyValue(key).trim());
    const rules = [...document.styleSheets[0].cssRules].map((rule) => rule.cssText).filter((rule) => rule.startsWith("svg "));
    const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
    style.textContent = valued(["svg { background: var(--paper) }", ...rules].join("\n"));
    copy.prepend(style);
    return new XMLSerializer().serializeToString(copy);
  };
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name.replace(/[^\w.-]+/g, "-");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-save]");
    if (!button) return;
    if (button.dataset.save === "csv") {
      const table = button.parentElement.querySelector("table");
      save(`${table.dataset.file}.csv`, "text/csv", csv(table));
    } else {
      const figure = button.closest("figure");
      save(`${figure.dataset.file}.svg`, "image/svg+xml", drawing(figure.querySelector("svg")));
    }
  });

  // What is wider than its box says so, until its end is seen.
  const mark = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    box.parentElement.classList.toggle("wide", hidden > 1);
    box.parentElement.classList.toggle("at-end", box.scrollLeft >= hidden - 1);
  };
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
  for (const box of document.querySelectorAll(".box > .scroll")) observer.observe(box);
  document.addEventListener("scroll", (event) => event.target.classList && event.target.classList.contains("scroll") && mark(event.target), true);

  // The way from a row to the history of its image.
  const open = () => {
    const target = location.hash.startsWith("#image-") && document.getElementById(location.hash.slice(1));
    if (!target) return;
    target.open = true;
    target.querySelector("summary").focus();
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    if (event.target.closest("a[href^='#image-']")) setTimeout(open);
  });
  document.documentElement.classList.add("scripted");
  form.parentElement.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("pageshow", () => { show(); open(); });
  show();
})();
