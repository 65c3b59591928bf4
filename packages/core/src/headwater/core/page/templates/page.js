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

  document.querySelectorAll(".copy").forEach(function (box) {
    box.querySelector("button").addEventListener("click", function (event) {
      var button = event.currentTarget;
      var area = document.createElement("textarea");
      area.value = box.querySelector("pre").textContent;
      document.body.appendChild(area);
      area.select();
      var done = document.execCommand("copy");
      area.remove();
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(function () { button.textContent = "Copy"; }, 1500);
    });
  });

  function nearest(xs, x) {
    var low = 0, high = xs.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  document.querySelectorAll("svg[data-plot]").forEach(function (svg) {
    var plot = JSON.parse(svg.getAttribute("data-plot")), box = plot.box;
    if (!plot.series.length) return;
    var host = svg.closest(".plot"), tip = document.createElement("div");
    var cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    tip.className = "tip";
    tip.hidden = true;
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", box.top);
    cursor.setAttribute("y2", box.bottom);
    cursor.setAttribute("visibility", "hidden");
    host.appendChild(tip);
    svg.appendChild(cursor);
    function hide() {
      tip.hidden = true;
      cursor.setAttribute("visibility", "hidden");
    }
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", function (event) {
      var frame = svg.getBoundingClientRect(), ratio = svg.viewBox.baseVal.width / frame.width;
      var px = (event.clientX - frame.left) * ratio, py = (event.clientY - frame.top) * ratio;
      if (px < box.left || px > box.right || py < box.top || py > box.bottom) return hide();
      var x = box.x0 + (px - box.left) / (box.right - box.left) * (box.x1 - box.x0);
      var main = plot.series[0], step = main.x[nearest(main.x, x)];
      var at = box.left + (step - box.x0) / ((box.x1 - box.x0) || 1) * (box.right - box.left);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.setAttribute("visibility", "visible");
      tip.textContent = "";
      var lines = ["step " + step.toLocaleString("en")];
      plot.series.forEach(function (series) {
        var i = nearest(series.x, step);
        var where = series.x[i] === step ? "" : " (step " + series.x[i].toLocaleString("en") + ")";
        lines.push(series.name + " " + series.y[i] + where);
      });
      lines.forEach(function (line) {
        var row = document.createElement("div");
        row.textContent = line;
        tip.appendChild(row);
      });
      tip.hidden = false;
      var left = at / ratio + 12;
      if (left + tip.offsetWidth > host.clientWidth) left = at / ratio - tip.offsetWidth - 12;
      tip.style.left = Math.max(0, left) + "px";
      tip.style.top = Math.max(0, py / ratio - 14) + "px";
    });
  });
})();
