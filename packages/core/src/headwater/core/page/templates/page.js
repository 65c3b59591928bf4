// Theme switch, copy buttons and chart tooltips. The page is complete without this script.
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("js");

  var toggle = document.querySelector(".theme-toggle");
  function dark() {
    var set = root.getAttribute("data-theme");
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function label() {
    toggle.textContent = dark() ? "Light" : "Dark";
    toggle.setAttribute("aria-label", "Switch to the " + (dark() ? "light" : "dark") + " theme");
  }
  toggle.addEventListener("click", function () {
    root.setAttribute("data-theme", dark() ? "light" : "dark");
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  document.addEventListener("click", function (event) {
    var button = event.target.closest(".copy button");
    if (!button) return;
    var area = document.createElement("textarea");
    area.value = button.parentNode.querySelector("pre").textContent;
    document.body.appendChild(area);
    area.select();
    var done = document.execCommand("copy");
    area.remove();
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(function () { button.textContent = "Copy"; }, 1500);
  });

  function nearest(xs, x) {
    var low = 0, high = xs.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  // The plot of a chart, with its tooltip and cursor; made when it is first needed, since charts may come later.
  function chart(svg) {
    if (svg.plot) return svg.plot;
    var plot = JSON.parse(svg.getAttribute("data-plot")), box = plot.box;
    plot.host = svg.closest(".plot");
    plot.tip = document.createElement("div");
    plot.tip.className = "tip";
    plot.tip.hidden = true;
    plot.tip.setAttribute("role", "status");
    plot.cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    plot.cursor.setAttribute("class", "cursor");
    plot.cursor.setAttribute("y1", box.top);
    plot.cursor.setAttribute("y2", box.bottom);
    plot.cursor.setAttribute("visibility", "hidden");
    plot.host.appendChild(plot.tip);
    svg.appendChild(plot.cursor);
    return (svg.plot = plot);
  }
  function hide(plot) {
    plot.tip.hidden = true;
    plot.cursor.setAttribute("visibility", "hidden");
  }
  // Shows lines of text beside a place of the drawing.
  function tell(svg, plot, lines, x, y) {
    var ratio = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
    plot.tip.textContent = "";
    lines.forEach(function (line) {
      var row = document.createElement("div");
      row.textContent = line;
      plot.tip.appendChild(row);
    });
    plot.tip.hidden = false;
    var left = x / ratio + 12, top = y / ratio - 14;
    if (left + plot.tip.offsetWidth > plot.host.clientWidth) left = x / ratio - plot.tip.offsetWidth - 12;
    plot.tip.style.left = Math.max(0, left) + "px";
    plot.tip.style.top = Math.max(0, top) + "px";
  }
  function values(svg, plot, step, y) {
    var box = plot.box, at = box.left + (step - box.x0) / ((box.x1 - box.x0) || 1) * (box.right - box.left);
    plot.cursor.setAttribute("x1", at);
    plot.cursor.setAttribute("x2", at);
    plot.cursor.setAttribute("visibility", "visible");
    var lines = ["step " + step.toLocaleString("en")];
    plot.series.forEach(function (series) {
      var i = nearest(series.x, step), found = series.x[i];
      if (series.within && (step < series.x[0] || step > series.x[series.x.length - 1])) return;
      lines.push(series.name + " " + series.y[i] + (found === step ? "" : " (step " + found.toLocaleString("en") + ")"));
    });
    tell(svg, plot, lines, at, y);
  }
  function point(svg, event) {
    var plot = chart(svg), box = plot.box, frame = svg.getBoundingClientRect();
    var ratio = svg.viewBox.baseVal.width / frame.width;
    var px = (event.clientX - frame.left) * ratio, py = (event.clientY - frame.top) * ratio;
    var mark = event.target.closest(".mark, .mark-line");
    if (mark) {
      var title = mark.querySelector("title");
      if (title) {  // else the browser shows it too
        mark.words = title.textContent;
        title.remove();
      }
      plot.cursor.setAttribute("visibility", "hidden");
      var lines = mark.words.split("\n");
      return tell(svg, plot, lines[0].split(" \u00b7 ").concat(lines.slice(1)), px, Math.min(py, box.bottom));
    }
    if (!plot.series.length || px < box.left || px > box.right || py < box.top || py > box.bottom) return hide(plot);
    var x = box.x0 + (px - box.left) / (box.right - box.left) * (box.x1 - box.x0), xs = plot.series[0].x;
    values(svg, plot, xs[nearest(xs, x)], py);
  }
  function drawing(event) {
    return event.target.closest && event.target.closest("svg[data-plot]");
  }
  document.addEventListener("pointermove", function (event) {
    var svg = drawing(event);
    if (svg) point(svg, event);
  }, true);
  document.addEventListener("pointerleave", function (event) {
    if (event.target.matches && event.target.matches("svg[data-plot]")) hide(chart(event.target));
  }, true);
  document.addEventListener("focusout", function (event) {
    if (event.target.matches("svg[data-plot]")) hide(chart(event.target));
  });
  document.addEventListener("keydown", function (event) {
    var svg = drawing(event), moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!svg) return;
    var plot = chart(svg);
    if (event.key === "Escape") return hide(plot);
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey || !plot.series.length) return;
    event.preventDefault();
    var xs = plot.series[0].x, last = xs.length - 1, at = plot.at === undefined ? -1 : plot.at;
    plot.at = Math.min(last, Math.max(0, at + moves[event.key] * (event.shiftKey ? 10 : 1)));
    values(svg, plot, xs[plot.at], (plot.box.top + plot.box.bottom) / 2);
  });
})();
