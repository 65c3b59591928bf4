// The items: unpacked, filtered and shown a page at a time. Everything of theirs becomes text nodes, never markup.
(function () {
  "use strict";
  var PAGE = 50, TRUNCATED = 1, CUT_SHORT = 2;
  var source = document.getElementById("items-data").textContent.trim();
  var byId = function (id) { return document.getElementById(id); };
  var loading = byId("items-loading"), list = byId("items-list");
  var data, chosen = [], page = 0, texts = [];

  // What would turn the direction of writing is named instead, and many empty lines are counted.
  function visible(text) {
    var shorter = text.replace(/\n{4,}/g, function (each) { return "\n⟨" + each.length + " line breaks⟩\n"; });
    return shorter.replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g, function (each) {
      return "⟨U+" + each.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
    });
  }

  function element(name, className, text) {
    var made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined && text !== null) made.textContent = visible(String(text));
    return made;
  }

  function unpack(text) {
    if (text.charAt(0) === "{") return Promise.resolve(JSON.parse(text));
    if (!window.DecompressionStream) return Promise.reject(new Error("this browser is too old to unpack them: make the page with --plain"));
    var raw = atob(text), bytes = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text().then(JSON.parse);
  }

  function words(value) {
    if (Array.isArray(value) && value.length && value.every(function (each) { return typeof each === "string"; })) return value.join("\n");
    return value === null || value === undefined ? "none" : typeof value === "string" ? value : JSON.stringify(value);
  }

  function number(value) {
    return typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : words(value);
  }

  function choicesOf(item) {
    return data.choices[item] === null ? null : data.choice_sets[data.choices[item]];
  }

  function answered(side, item) { return data.answers[side].marks[item] !== null; }

  function isRight(side, item) { return data.answers[side].correct[item] === 1; }

  function differ(item) {
    var a = data.answers[0], b = data.answers[1];
    if (!answered(1, item)) return false;
    return a.logprobs[item] ? a.prediction[item] !== b.prediction[item] : a.response[item] !== b.response[item];
  }

  function targetPlace(item) {
    var target = data.target[item], choices = choicesOf(item);
    if (!choices) return -1;
    return typeof target === "number" ? target : choices.indexOf(target);
  }

  // Of the probability of all choices, each one's share.
  function shares(logprobs, count) {
    var some = logprobs.slice(0, count), most = Math.max.apply(null, some.map(function (each) { return each === null ? -Infinity : each; }));
    var raised = some.map(function (each) { return each === null ? 0 : Math.exp(each - most); });
    var sum = raised.reduce(function (a, b) { return a + b; }, 0);
    return raised.map(function (each) { return each / sum; });
  }

  // How sure the model is of its answer, where it chose one.
  function sureness(item) {
    var logprobs = data.answers[0].logprobs[item], choices = choicesOf(item);
    if (!logprobs || !choices) return -1;
    return Math.max.apply(null, shares(logprobs, choices.length));
  }

  function textOf(item) {
    if (texts[item] === undefined) {
      var parts = [data.question[item]].concat(choicesOf(item) || []);
      data.answers.forEach(function (side) { if (side.response[item]) parts.push(side.response[item]); });
      texts[item] = parts.join("\n").toLowerCase();
    }
    return texts[item];
  }

  var OUTCOMES = {
    "": ["any", function () { return true; }],
    right: ["right", function (i) { return isRight(0, i); }],
    wrong: ["wrong", function (i) { return data.answers[0].correct[i] === 0; }],
    partly: ["neither right nor wrong", function (i) { var c = data.answers[0].correct[i]; return c !== 0 && c !== 1; }]
  };
  var PAIRED = {
    differ: ["the answers differ", differ],
    gained: ["only this right", function (i) { return isRight(0, i) && answered(1, i) && !isRight(1, i); }],
    lost: ["only the other right", function (i) { return !isRight(0, i) && isRight(1, i); }],
    bothwrong: ["both wrong", function (i) { return data.answers[0].correct[i] === 0 && data.answers[1].correct[i] === 0; }],
    alone: ["not answered by the other", function (i) { return !answered(1, i); }]
  };
  var OVERLAPS = {
    "": ["any", function () { return true; }],
    yes: ["overlapping", function (i) { return data.overlap[i] === 1; }],
    no: ["clean", function (i) { return data.overlap[i] === 0; }],
    unknown: ["not known", function (i) { return data.overlap[i] === null; }]
  };
  var CUTS = {
    "": ["any", function () { return true; }],
    prompt: ["prompt cut", function (i) { return (data.answers[0].marks[i] & TRUNCATED) !== 0; }],
    answer: ["answer cut", function (i) { return (data.answers[0].marks[i] & CUT_SHORT) !== 0; }],
    no: ["not cut", function (i) { return data.answers[0].marks[i] === 0; }]
  };

  function option(select, value, name) {
    var made = element("option", "", name);
    made.value = value;
    select.appendChild(made);
  }

  // Offers what some item has, with how many.
  function offer(id, kinds) {
    var count = data.index.length;
    Object.keys(kinds).forEach(function (key) {
      var found = 0;
      for (var i = 0; i < count; i++) if (kinds[key][1](i)) found++;
      if (key === "" || (found && found < count)) option(byId(id), key, kinds[key][0] + (key === "" ? "" : " (" + found.toLocaleString("en") + ")"));
      else if (found) option(byId(id), key, "all " + kinds[key][0]);
    });
    byId(id).disabled = byId(id).options.length < 2;
  }

  function filter() {
    var text = byId("f-text").value.trim().toLowerCase(), task = byId("f-task").value;
    var outcome = OUTCOMES[byId("f-outcome").value][1], overlap = OVERLAPS[byId("f-overlap").value][1], cut = CUTS[byId("f-cut").value][1];
    chosen = [];
    for (var i = 0; i < data.index.length; i++) {
      if ((task === "" || data.task[i] === +task) && outcome(i) && overlap(i) && cut(i) && (!text || textOf(i).indexOf(text) >= 0)) chosen.push(i);
    }
    var order = byId("f-order").value;
    if (order) {
      var sure = {};
      chosen.forEach(function (i) { sure[i] = sureness(i); });
      if (order === "mistakes") chosen = chosen.filter(function (i) { return data.answers[0].correct[i] === 0 && sure[i] >= 0; });
      chosen.sort(function (a, b) { return (order === "unsure" ? sure[a] - sure[b] : sure[b] - sure[a]) || a - b; });
    }
    page = 0;
    show();
  }

  function outcome(side, item) {
    if (!answered(side, item)) return element("span", "outcome", "–");
    var correct = data.answers[side].correct[item];
    var made = element("span", "outcome " + (correct === 1 ? "right" : correct === 0 ? "wrong" : ""), correct === 1 ? "✓" : correct === 0 ? "✗" : number(correct));
    made.title = (data.answers.length > 1 ? [data.names["this"], data.names.other][side] + ": " : "") + (correct === 1 ? "right" : correct === 0 ? "wrong" : "score " + number(correct));
    made.setAttribute("aria-label", made.title);
    made.setAttribute("role", "img");
    return made;
  }

  function firstLine(item) {
    var question = data.question[item] || words(data.answers[0].response[item] || data.target[item]);
    var lines = question.split("\n").map(function (line) { return line.trim(); }).filter(Boolean);
    return (lines[0] || "").slice(0, 240) + (lines.length > 1 && lines[0].length < 60 ? " " + lines[1].slice(0, 180) : "");
  }

  function row(item) {
    var made = element("details", "item"), summary = element("summary"), marks = element("span", "outcomes"), tags = element("span", "tags");
    data.answers.forEach(function (_, side) { marks.appendChild(outcome(side, item)); });
    if (data.overlap[item] === 1) tags.appendChild(element("span", "tag", "overlap"));
    if (data.answers[0].marks[item] & TRUNCATED) tags.appendChild(element("span", "tag", "prompt cut"));
    if (data.answers[0].marks[item] & CUT_SHORT) tags.appendChild(element("span", "tag", "answer cut"));
    summary.appendChild(marks);
    summary.appendChild(element("span", "which", data.tasks[data.task[item]].name + " " + data.index[item]));
    summary.appendChild(element("span", "first-line", firstLine(item)));
    summary.appendChild(tags);
    made.appendChild(summary);
    made.addEventListener("toggle", function () {
      if (made.open && made.children.length === 1) made.appendChild(inside(item));
    });
    return made;
  }

  function block(host, title, text, className) {
    host.appendChild(element("h4", "", title));
    host.appendChild(element("div", "text " + (className || ""), text));
  }

  function inside(item) {
    var made = element("div", "inside");
    block(made, "Question", data.question[item] || "not kept with this evaluation");
    if (!choicesOf(item)) block(made, "Target", words(data.target[item]));
    var sides = element("div", "sides" + (data.answers.length > 1 ? "" : " one"));
    data.answers.forEach(function (_, side) { sides.appendChild(answer(side, item)); });
    made.appendChild(sides);
    var overlap = data.overlap[item];
    var facts = [overlap === null ? "" : overlap ? "overlaps the training documents" : "no overlap with the training documents"];
    if (data.names.run) facts.push("training documents behind it: headwater trace item " + data.tasks[data.task[item]].name + " " + data.index[item] + " --run " + data.names.run);
    made.appendChild(element("p", "facts", facts.filter(Boolean).join(" · ")));
    return made;
  }

  function answer(side, item) {
    var made = element("div", "side"), answers = data.answers[side], choices = choicesOf(item);
    if (data.answers.length > 1) made.appendChild(element("h4", "", [data.names["this"], data.names.other][side]));
    if (!answered(side, item)) {
      made.appendChild(element("p", "facts", "This evaluation has not the item."));
      return made;
    }
    if (choices && answers.logprobs[item]) made.appendChild(chosenFrom(answers, item, choices));
    else if (answers.logprobs[item]) made.appendChild(element("p", "facts", "log-probability " + answers.logprobs[item].map(number).join(", ")));
    if (answers.response[item] !== null) block(made, "Response", answers.response[item] || "(empty)", "code");
    var extracted = answers.extracted[item];
    if (extracted) Object.keys(extracted).forEach(function (name) {
      block(made, name === "none" ? "Answer taken from it" : "Answer taken from it by " + name, words(extracted[name]));
    });
    var marks = [];
    if (answers.marks[item] & TRUNCATED) marks.push("the prompt was cut to fit the model");
    if (answers.marks[item] & CUT_SHORT) marks.push("the answer ended at the length limit");
    var metrics = data.tasks[data.task[item]].metrics.map(function (each, place) {
      return each[1] + (each[0] === "none" ? "" : " (" + each[0] + ")") + " " + number(answers.values[item][place]);
    });
    made.appendChild(element("p", "facts", metrics.concat(marks).join(" · ")));
    return made;
  }

  function chosenFrom(answers, item, choices) {
    var table = element("table", "choices"), head = element("thead"), names = element("tr"), body = element("tbody");
    ["", "Choice", "log-prob.", "share"].forEach(function (name, place) {
      var cell = element("th", place === 1 ? "t" : "", name);
      cell.scope = "col";
      names.appendChild(cell);
    });
    head.appendChild(names);
    table.appendChild(head);
    var target = targetPlace(item), right = answers.correct[item] === 1, logprobs = answers.logprobs[item], of = shares(logprobs, choices.length), greedy = answers.greedy[item] || [];
    // Of some tasks the target is none of the choices; then only a right answer tells which it is.
    if (target < 0 && right) target = answers.prediction[item];
    choices.forEach(function (choice, place) {
      var line = element("tr", place === target ? "target" : ""), mine = answers.prediction[item] === place;
      var mark = element("td");
      if (mine || place === target) {
        var sign = element("span", "outcome " + (place === target ? "right" : "wrong"), place === target ? (mine ? "✓ chosen" : "✓") : "✗ chosen");
        sign.title = place === target ? (mine ? "right, and chosen" : "the right choice") : "chosen, and wrong";
        mark.appendChild(sign);
      }
      line.appendChild(mark);
      line.appendChild(element("td", "t", choice));
      var value = element("td", "", logprobs[place] === null ? "−∞" : logprobs[place].toFixed(3));
      if (greedy.indexOf(place) >= 0) value.title = "what greedy decoding gives";
      line.appendChild(value);
      var share = element("td", "", (100 * of[place]).toFixed(1) + "%"), bar = element("span", "probability"), filled = element("i");
      filled.style.width = 100 * of[place] + "%";
      bar.appendChild(filled);
      share.appendChild(bar);
      line.appendChild(share);
      body.appendChild(line);
    });
    table.appendChild(body);
    var host = element("div", "table");
    host.appendChild(table);
    return host;
  }

  function show() {
    var pages = Math.max(1, Math.ceil(chosen.length / PAGE)), status = byId("items-status");
    list.textContent = "";
    chosen.slice(page * PAGE, (page + 1) * PAGE).forEach(function (item) { list.appendChild(row(item)); });
    status.textContent = "";
    status.appendChild(element("b", "", chosen.length.toLocaleString("en")));
    status.appendChild(document.createTextNode(" of " + data.index.length.toLocaleString("en") + " items" + tally()));
    byId("items-page").textContent = "page " + (page + 1).toLocaleString("en") + " of " + pages.toLocaleString("en");
    byId("items-back").disabled = page === 0;
    byId("items-next").disabled = page + 1 >= pages;
  }

  function tally() {
    if (!chosen.length) return "";
    var right = function (side) {
      return chosen.filter(function (i) { return isRight(side, i); }).length.toLocaleString("en");
    };
    if (data.answers.length === 1) return ", " + right(0) + " right";
    return ", " + right(0) + " right (" + data.names["this"] + "), " + right(1) + " right (" + data.names.other + ")";
  }

  function turn(by) {
    page += by;
    show();
    byId("items-status").scrollIntoView({ block: "nearest" });
  }

  function clear() {
    byId("f-text").value = "";
    ["f-task", "f-outcome", "f-overlap", "f-cut", "f-order"].forEach(function (id) { byId(id).value = ""; });
    filter();
  }

  function start(found) {
    data = found;
    if (data.answers.length > 1) Object.keys(PAIRED).forEach(function (key) { OUTCOMES[key] = PAIRED[key]; });
    option(byId("f-task"), "", "all (" + data.tasks.length + ")");
    data.tasks.forEach(function (task, place) { option(byId("f-task"), place, task.name); });
    offer("f-outcome", OUTCOMES);
    offer("f-overlap", OVERLAPS);
    offer("f-cut", CUTS);
    option(byId("f-order"), "", "as in the task");
    if (data.answers[0].logprobs.some(Boolean)) {
      option(byId("f-order"), "mistakes", "surest mistakes first");
      option(byId("f-order"), "sure", "surest first");
      option(byId("f-order"), "unsure", "least sure first");
    }
    byId("f-order").disabled = byId("f-order").options.length < 2;
    ["f-task", "f-outcome", "f-overlap", "f-cut", "f-order"].forEach(function (id) { byId(id).addEventListener("change", filter); });
    var waiting;
    byId("f-text").addEventListener("input", function () {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 120);
    });
    byId("f-clear").addEventListener("click", clear);
    byId("items-back").addEventListener("click", function () { turn(-1); });
    byId("items-next").addEventListener("click", function () { turn(1); });
    document.querySelectorAll("a.only").forEach(function (link) {
      link.addEventListener("click", function () {
        data.tasks.forEach(function (task, place) { if (task.name === link.dataset.task) byId("f-task").value = place; });
        filter();
      });
    });
    loading.hidden = true;
    byId("items-tools").hidden = false;
    filter();
    document.documentElement.classList.add("items-ready");
  }

  loading.hidden = false;
  unpack(source).then(start).catch(function (error) {
    loading.textContent = "The items cannot be shown: " + error.message;
  });

  document.querySelectorAll("table.sortable").forEach(function (table) {
    var heads = table.tHead.rows[0].cells;
    Array.prototype.forEach.call(heads, function (head, column) {
      var button = head.querySelector(".sort");
      if (!button) return;
      button.addEventListener("click", function () {
        var now = head.getAttribute("aria-sort") || "", start = button.dataset.start;
        var next = now === "" ? start : now === "ascending" ? "descending" : "ascending", sign = next === "ascending" ? 1 : -1;
        Array.prototype.forEach.call(heads, function (each) { each.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", next);
        var value = function (line) { return line.cells[column].dataset.value || ""; };
        Array.from(table.tBodies[0].rows).sort(function (a, b) {
          var x = value(a), y = value(b), numeric = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
          return sign * (numeric ? x - y : x.localeCompare(y, "en"));
        }).forEach(function (line) { table.tBodies[0].appendChild(line); });
      });
    });
  });
})();
