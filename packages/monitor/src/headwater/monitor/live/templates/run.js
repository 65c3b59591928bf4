// Asks for the sections of the page while the runs go on, and puts in what changed. Zooming asks for a finer piece.
(function () {
  "use strict";
  var main = document.getElementById("main"), form = document.getElementById("controls");
  var status = document.getElementById("status"), lost = document.getElementById("lost");
  var shown = {}, known = "", last = 0, range = null, timer = 0, asked = 0, held = null, waiting = null;

  // What is chosen is kept in the address, so that a reload or a bookmark shows the same.
  function restore() {
    var chosen = new URLSearchParams(location.hash.slice(1));
    if (chosen.get("to")) range = [Number(chosen.get("from")) || 0, Number(chosen.get("to"))];
    form.elements.log.checked = chosen.get("log") === "1";
    if (chosen.get("runs")) {
      var only = chosen.get("runs").split(",");
      form.querySelectorAll("[name=run]").forEach(function (box) { box.checked = only.indexOf(box.value) >= 0; });
    }
  }
  function choice() {
    var chosen = new URLSearchParams(), boxes = [].slice.call(form.querySelectorAll("[name=run]"));
    var on = boxes.filter(function (box) { return box.checked; });
    if (range) { chosen.set("from", range[0]); chosen.set("to", range[1]); }
    if (form.elements.log.checked) chosen.set("log", "1");
    if (on.length < boxes.length) chosen.set("runs", on.length ? on.map(function (box) { return box.value; }).join(",") : "999");
    return chosen;
  }
  function changed() {
    var text = choice().toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname);
    known = "";
    ask();
  }

  function ask() {
    clearTimeout(timer);
    var number = ++asked, query = choice();
    var style = getComputedStyle(document.getElementById("runs"));
    var width = document.getElementById("runs").clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    query.set("width", Math.max(240, Math.floor(width)));
    query.set("known", known);
    fetch("/state?" + query, { cache: "no-store", credentials: "omit" }).then(function (answer) {
      if (!answer.ok) return answer.text().then(function (text) { throw new Error(text); });
      return answer.json();
    }).then(function (state) {
      if (number !== asked) return;
      lost.hidden = true;
      if (state.sections) put(state);
      say(state.reading ? "reading the logs …" : state.next_seconds > 5 ? "ended; nothing new is expected" : "live");
      later(state.next_seconds);
    }).catch(function (error) {
      if (number !== asked) return;
      if (error instanceof TypeError) {
        lost.hidden = false;
        say("not connected");
      } else {
        say(error.message);
      }
      later(5);
    });
  }
  function say(words) {
    if (status.textContent !== words) status.textContent = words;  // it is read out when it changes
  }
  function later(seconds) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, seconds * 1000);
  }

  function put(state) {
    if (held) { waiting = state; return; }
    known = state.digest;
    last = state.last;
    document.title = state.title;
    Object.keys(state.sections).forEach(function (id) {
      var html = state.sections[id], section = document.getElementById(id);
      if (shown[id] === html) return;
      shown[id] = html;
      section.hidden = !html;
      document.querySelectorAll('.nav a[href="#' + id + '"]').forEach(function (link) { link.hidden = !html; });
      swap(section, html);
    });
    if (document.activeElement !== form.elements.from && document.activeElement !== form.elements.to) {
      form.elements.from.value = range ? range[0] : state.first;
      form.elements.to.value = range ? range[1] : last;
    }
    if (pointer) pointAgain();
  }
  function name(element) {
    return element.tagName + (element.getAttribute("aria-labelledby") || element.getAttribute("aria-label") || element.textContent);
  }
  // Replaces a section; what was open, scrolled or focused in it stays so.
  function swap(section, html) {
    var open = {}, scrolled = {}, focused = section.contains(document.activeElement) ? name(document.activeElement) : "";
    section.querySelectorAll("details[open]").forEach(function (box) { open[name(box.firstElementChild)] = true; });
    section.querySelectorAll(".table").forEach(function (box) { scrolled[name(box)] = [box.scrollLeft, box.scrollTop]; });
    section.innerHTML = html;
    section.querySelectorAll("details").forEach(function (box) { if (open[name(box.firstElementChild)]) box.open = true; });
    section.querySelectorAll(".table").forEach(function (box) {
      var place = scrolled[name(box)];
      if (place) { box.scrollLeft = place[0]; box.scrollTop = place[1]; }
    });
    if (focused) section.querySelectorAll("[tabindex], summary, button").forEach(function (element) {
      if (name(element) === focused) element.focus({ preventScroll: true });
    });
  }

  // A tooltip under a pointer that rests stays when its chart is replaced.
  var pointer = null;
  document.addEventListener("pointermove", function (event) {
    pointer = event.target.closest && event.target.closest("svg[data-plot]") ? [event.clientX, event.clientY] : null;
  }, true);
  function pointAgain() {
    var under = document.elementFromPoint(pointer[0], pointer[1]);
    if (under && under.closest("svg[data-plot]")) under.dispatchEvent(
      new PointerEvent("pointermove", { clientX: pointer[0], clientY: pointer[1], bubbles: true }));
  }

  function zoom(first, end) {
    first = Math.max(0, Math.floor(first));
    end = Math.ceil(end);
    if (end - first < 2) end = first + 2;
    range = first <= 0 && end >= last ? null : [first, end];
    changed();
  }
  function step(svg, clientX) {
    var box = JSON.parse(svg.getAttribute("data-plot")).box, frame = svg.getBoundingClientRect();
    var x = (clientX - frame.left) * svg.viewBox.baseVal.width / frame.width;
    x = Math.min(box.right, Math.max(box.left, x));
    return { x: x, step: box.x0 + (x - box.left) / (box.right - box.left) * (box.x1 - box.x0), box: box };
  }
  document.addEventListener("pointerdown", function (event) {
    var svg = event.target.closest && event.target.closest("svg[data-plot]");
    if (!svg || event.button || !main.contains(svg)) return;
    var from = step(svg, event.clientX), brush = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    brush.setAttribute("class", "brush");
    brush.setAttribute("y", from.box.top);
    brush.setAttribute("height", from.box.bottom - from.box.top);
    svg.appendChild(brush);
    held = { svg: svg, from: from, brush: brush };
    if (event.pointerType === "mouse") event.preventDefault();
  });
  document.addEventListener("pointermove", function (event) {
    if (!held) return;
    var to = step(held.svg, event.clientX);
    held.brush.setAttribute("x", Math.min(held.from.x, to.x));
    held.brush.setAttribute("width", Math.abs(held.from.x - to.x));
  });
  function release(event, cancelled) {
    if (!held) return;
    var from = held.from, to = step(held.svg, event.clientX);
    held.brush.remove();
    held = null;
    if (!cancelled && Math.abs(from.x - to.x) > 5) return zoom(Math.min(from.step, to.step), Math.max(from.step, to.step));
    if (waiting) { var state = waiting; waiting = null; put(state); }
  }
  document.addEventListener("pointerup", function (event) { release(event, false); });
  document.addEventListener("pointercancel", function (event) { release(event, true); });
  document.addEventListener("dblclick", function (event) {
    if (event.target.closest("svg[data-plot]")) { range = null; changed(); }
  });

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    var first = Number(form.elements.from.value.replace(/[^0-9.]/g, "")), end = Number(form.elements.to.value.replace(/[^0-9.]/g, ""));
    if (end > first) zoom(first, end);
    else say("the last step has to be above the first");
  });
  form.addEventListener("change", function (event) { if (event.target.type === "checkbox") changed(); });
  form.addEventListener("click", function (event) {
    var wanted = event.target.getAttribute("data-do"), now = range || [0, last], wide = now[1] - now[0];
    if (wanted === "all") { range = null; changed(); }
    if (wanted === "in") zoom(now[0] + wide / 4, now[1] - wide / 4);
    if (wanted === "out") zoom(now[0] - wide / 2, now[1] + wide / 2);
    if (wanted === "back") zoom(Math.max(0, now[0] - wide / 2), Math.max(0, now[0] - wide / 2) + wide);
    if (wanted === "on") zoom(now[0] + wide / 2, now[1] + wide / 2);
  });
  document.addEventListener("visibilitychange", function () { if (!document.hidden) ask(); });
  var size = 0;
  addEventListener("resize", function () { clearTimeout(size); size = setTimeout(ask, 150); });
  restore();
  ask();
})();
