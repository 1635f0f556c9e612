"use strict";
// The charts, drawn by plotly.js, which lies packed in the page; choosing, zooming and moving; light, dark and paper.
(() => {
  const byId = (id) => document.getElementById(id);
  const { inflated, points, line } = tracePoints;
  const content = JSON.parse(byId("content").textContent);
  const traces = content.traces;
  const charts = new Map(); // element → function that draws it anew
  const PRINT_WIDTH = 690;
  let library = null;
  let printing = false;

  // ---- plotly, and how charts look ---------------------------------------------------------------------------------

  async function loadLibrary() {
    const packed = byId("library");
    if (!packed) return null;
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await inflated(packed.textContent));
    document.head.append(script);
    packed.remove();
    return window.Plotly;
  }

  // plotly reads a little markup in texts; names from the data are never markup.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const shortened = (text, length) =>
    text.length <= length ? text : `${text.slice(0, Math.ceil(length / 2) - 1)}…${text.slice(1 - Math.floor(length / 2))}`;

  function palette() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(`--${name}`).trim();
    return {
      ink: read("ink"), quiet: read("quiet"), line: read("line"), paper: read("card"),
      truth: read("truth"), predicted: read("predicted"), accent: read("accent"), shade: read("shade"),
      series: ["predicted", "accent", "third", "fourth", "fifth", "truth"].map(read),
    };
  }

  function layout(colors, more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: colors.ink },
      hoverlabel: { bgcolor: colors.paper, bordercolor: colors.line, font: { color: colors.ink, size: 12 } },
      separators: ".,", showlegend: true,
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1, yanchor: "bottom", font: { size: 12 }, itemsizing: "constant" },
      ...more,
      ...(printing ? { width: PRINT_WIDTH, autosize: false } : { autosize: true }),
    };
  }

  const axis = (colors, more) => ({
    gridcolor: colors.line, linecolor: colors.line, zeroline: false, ticks: "", automargin: true,
    tickfont: { color: colors.quiet }, title: { font: { size: 12, color: colors.quiet }, standoff: 6 }, ...more,
  });

  const settings = (name) => ({
    responsive: true, displaylogo: false, doubleClick: false,
    modeBarButtons: [["toImage"]], displayModeBar: "hover",
    toImageButtonOptions: { format: "svg", filename: name },
  });

  async function drawn(element, draw) {
    charts.set(element, draw);
    await draw();
  }

  // ---- traces ------------------------------------------------------------------------------------------------------

  function traceSection() {
    const chart = byId("trace-chart"), driftChart = byId("drift-chart");
    const recordings = [...new Set(traces.map((trace) => trace.recording))];
    const selects = { recording: byId("recording"), task: byId("task"), dimensions: byId("dimensions") };
    const PANELS = 4;
    let number = 0, view = null, panels = [0];

    const fill = (select, values, chosen) => {
      select.replaceChildren(...values.map(([value, text]) => new Option(text, value, false, String(value) === String(chosen))));
    };
    const tasksOf = (recording) => traces.filter((trace) => trace.recording === recording).map((trace) => trace.task);
    const find = (recording, task) => traces.findIndex((trace) => trace.recording === recording && trace.task === task);
    const secondsOf = (trace) => [trace.start, Math.max(trace.end, trace.start + 1e-3)];

    function firstView(trace) {
      // What a reader can follow: some hundred points, from the beginning.
      const [start, end] = secondsOf(trace);
      const length = Math.max(trace.median_step * 1500, 10 * trace.median_step);
      return end - start <= 1.5 * length ? [start, end] : [start, start + length];
    }

    function moved(range) {
      const [start, end] = secondsOf(traces[number]);
      const least = Math.min(end - start, Math.max(4 * traces[number].median_step, 1e-3));
      const width = Math.min(Math.max(range[1] - range[0], least), end - start);
      const from = Math.min(Math.max(range[0] + (range[1] - range[0] - width) / 2, start), end - width);
      view = [from, from + width];
      return refresh();
    }

    function series(dimensions, colors) {
      const trace = traces[number];
      const made = [];
      const margin = (view[1] - view[0]) / 2;
      panels.forEach((dimension, row) => {
        for (const [name, key, color, width] of [
          ["true", "truth", colors.truth, trace.classes ? 5 : 2.4],
          ["predicted", "predicted", colors.predicted, trace.classes ? 1.8 : 1.4],
        ]) {
          if (!dimensions[dimension][key]) continue;
          made.push({
            ...line(dimensions[dimension], dimensions[dimension][key], view[0] - margin, view[1] + margin),
            name, legendgroup: name, showlegend: row === 0, type: "scatter", mode: "lines", connectgaps: false,
            line: { color, width, shape: trace.classes ? "hv" : "linear", simplify: true },
            ...(trace.times <= 200 ? { mode: "lines+markers", marker: { color, size: width + 3 } } : {}),
            xaxis: "x", yaxis: row ? `y${row + 1}` : "y",
            hovertemplate: trace.classes ? "%{text}" : "%{y:.4~g}",
          });
          const of = made[made.length - 1];
          if (trace.classes) of.text = of.y.map((value) => plain(trace.class_names[value] ?? value));
        }
      });
      return made;
    }

    async function draw() {
      const trace = traces[number], colors = palette(), dimensions = await points(number, trace);
      const rows = panels.length, space = rows > 1 ? 0.06 : 0;
      const made = series(dimensions, colors);
      const height = (rows === 1 ? 260 : 150 * rows) + 70;
      const more = {
        height, margin: { l: 64, r: 12, t: 34, b: 46 }, dragmode: "zoom", hovermode: "x",
        xaxis: axis(colors, { range: view, anchor: rows > 1 ? `y${rows}` : "y", hoverformat: ".3~f", tickformat: ".6~f" }),
      };
      more.xaxis.title.text = plain(content.time_label);
      panels.forEach((dimension, row) => {
        const { low, high } = trace.dimensions[dimension], pad = 0.06 * (high - low);
        const top = 1 - row * ((1 + space) / rows);
        const y = axis(colors, {
          range: [low - pad, high + pad], fixedrange: true, nticks: 5,
          domain: [Math.max(0, top - (1 + space) / rows + space), top],
        });
        y.title.text = plain(label(trace, dimension));
        if (trace.classes) {
          const found = [];
          for (let value = low; value <= high && found.length < 40; value++) found.push(value);
          y.tickvals = found;
          y.ticktext = found.map((value) => plain(shortened(trace.class_names[value] ?? String(value), 18)));
          y.range = [low - 0.5, high + 0.5];
        }
        more[row ? `yaxis${row + 1}` : "yaxis"] = y;
      });
      await library.react(chart, made, layout(colors, more), settings("predicted_and_true"));
      if (!chart.dataset.ready) {
        chart.on("plotly_relayout", (change) => {
          const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
          if (from !== undefined && to !== undefined) moved([Number(from), Number(to)]);
        });
        chart.on("plotly_doubleclick", () => moved(secondsOf(traces[number])));
        chart.dataset.ready = "true";
      }
      chart.dataset.from = view[0];
      chart.dataset.to = view[1];
    }

    function label(trace, dimension) {
      const values = trace.classes ? "class" : trace.values || (trace.dimensions.length === 1 ? "value" : "dimension");
      const name = trace.names[dimension] ?? (trace.dimensions.length === 1 ? values : `${values} ${dimension + 1}`);
      return shortened(name, 24) + (trace.unit ? ` (${trace.unit})` : "");
    }

    async function drawDrift() {
      if (!driftChart) return;
      const { drift, start, end } = traces[number], colors = palette();
      driftChart.hidden = !drift;
      if (!drift) return;
      const x = [], y = [];
      drift.values.forEach((value, i) => {
        x.push(drift.starts[i], drift.ends[i], null);
        y.push(value, value, null);
      });
      const middles = drift.values.map((_, i) => (drift.starts[i] + drift.ends[i]) / 2);
      const finite = drift.values.filter((value) => value !== null);
      const low = Math.min(...finite, drift.score ?? Infinity), high = Math.max(...finite, drift.score ?? -Infinity);
      const pad = 0.12 * (high - low || 1);
      const more = {
        height: 210, margin: { l: 64, r: 12, t: 20, b: 46 }, hovermode: "closest", showlegend: false, dragmode: false,
        xaxis: axis(colors, { range: [start, end], fixedrange: true, tickformat: ".6~f" }),
        yaxis: axis(colors, { range: [low - pad, high + pad], fixedrange: true, nticks: 5 }),
        shapes: [
          { type: "rect", xref: "x", yref: "paper", x0: view[0], x1: view[1], y0: 0, y1: 1, fillcolor: colors.shade, line: { width: 0 }, layer: "below" },
          ...(drift.score === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: drift.score, y1: drift.score, line: { color: colors.quiet, width: 1, dash: "dash" } }]),
        ],
      };
      more.xaxis.title.text = "time (s)";
      more.yaxis.title.text = plain(drift.label);
      const made = [
        { x, y, type: "scatter", mode: "lines", line: { color: colors.predicted, width: 3 }, hoverinfo: "skip" },
        {
          x: middles, y: drift.values, type: "scatter", mode: "lines+markers", line: { color: colors.predicted, width: 1 },
          marker: { color: colors.predicted, size: 7 },
          customdata: drift.values.map((_, i) => [drift.starts[i], drift.ends[i]]),
          hovertemplate: "%{customdata[0]:.1f} – %{customdata[1]:.1f} s: %{y:.3f}<extra></extra>",
        },
      ];
      await library.react(driftChart, made, layout(colors, more), settings("score_over_time"));
      if (!driftChart.dataset.ready) {
        driftChart.on("plotly_click", (event) => moved(event.points[0].customdata));
        driftChart.dataset.ready = "true";
      }
    }

    function words() {
      const trace = traces[number], drift = trace.drift;
      byId("chosen-name").textContent = trace.recording;
      byId("chosen-score").textContent = [trace.task, trace.score].filter(Boolean).join(" · ");
      const shown = view[1] - view[0] < trace.end - trace.start ? `Shown: ${view[0].toFixed(2)} – ${view[1].toFixed(2)} of ${trace.start.toFixed(2)} – ${trace.end.toFixed(2)}. ` : "";
      const thinned = trace.every > 1
        ? `About one in ${trace.every} of ${trace.times.toLocaleString("en")} times is in this file: of each stretch of neighbours the smallest and the largest value, at their own times. Scores are of all times.`
        : `All ${trace.times.toLocaleString("en")} evaluated times are in this file; a wide view draws the smallest and largest of neighbours.`;
      byId("trace-shown").textContent = shown + thinned;
      if (!driftChart) return;
      byId("drift-words").textContent = drift ? drift.words : "";
      byId("drift-note").textContent = drift
        ? (drift.whole ? "Each window’s error against the variance of the whole recording: the mean of the windows is its R² (dashed). " : "The score of each window; dashed, that of the recording. ") + "The shaded stretch is the one shown above; a click on a window shows it."
        : "Too little evaluated time for a score over time.";
    }

    async function refresh() {
      words();
      await draw();
      await drawDrift();
    }

    async function choose(chosen) {
      number = chosen;
      const trace = traces[number];
      const tasks = tasksOf(trace.recording);
      fill(selects.recording, recordings.map((name) => [name, name]), trace.recording);
      fill(selects.task, tasks.map((name) => [name, name]), trace.task);
      byId("task-label").hidden = new Set(traces.map((one) => one.task)).size < 2;
      const count = trace.dimensions.length, groups = [];
      for (let first = 0; first < count; first += PANELS) groups.push([first, `${first + 1} – ${Math.min(first + PANELS, count)}`]);
      fill(selects.dimensions, groups, 0);
      byId("dimensions-label").hidden = groups.length < 2;
      showPanels(0);
      view = firstView(trace);
      for (const row of document.querySelectorAll("#score-table tbody tr")) {
        const button = row.querySelector("button[data-trace]");
        row.classList.toggle("chosen", Boolean(button) && Number(button.dataset.trace) === number);
      }
      await refresh();
    }

    function showPanels(first) {
      panels = [];
      for (let i = first; i < Math.min(first + PANELS, traces[number].dimensions.length); i++) panels.push(i);
    }

    selects.recording.addEventListener("change", () => {
      const name = selects.recording.value;
      const same = find(name, traces[number].task);
      choose(same >= 0 ? same : find(name, tasksOf(name)[0]));
    });
    selects.task.addEventListener("change", () => choose(find(selects.recording.value, selects.task.value)));
    selects.dimensions.addEventListener("change", () => {
      showPanels(Number(selects.dimensions.value));
      refresh();
    });
    const step = (by) => {
      const place = recordings.indexOf(traces[number].recording) + by;
      if (place < 0 || place >= recordings.length) return;
      selects.recording.value = recordings[place];
      selects.recording.dispatchEvent(new Event("change"));
    };
    const zoom = (factor, at = 0.5) => {
      const middle = view[0] + at * (view[1] - view[0]), width = (view[1] - view[0]) * factor;
      return moved([middle - at * width, middle + (1 - at) * width]);
    };
    const pan = (share) => {
      const by = share * (view[1] - view[0]);
      return moved([view[0] + by, view[1] + by]);
    };
    const whole = () => moved(secondsOf(traces[number]));
    for (const [id, act] of Object.entries({
      previous: () => step(-1), next: () => step(1), earlier: () => pan(-0.5), later: () => pan(0.5),
      closer: () => zoom(0.5), wider: () => zoom(2), whole,
    })) byId(id).addEventListener("click", act);
    chart.addEventListener("keydown", (event) => {
      const act = { ArrowLeft: () => pan(-0.25), ArrowRight: () => pan(0.25), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: whole }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    chart.addEventListener("pointerdown", () => chart.focus({ preventScroll: true }));
    chart.addEventListener("wheel", (event) => {
      if (document.activeElement !== chart && !event.ctrlKey) return;
      event.preventDefault();
      const area = chart.querySelector(".draglayer .nsewdrag").getBoundingClientRect();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)));
    }, { passive: false });
    for (const button of document.querySelectorAll("button[data-trace]")) {
      button.addEventListener("click", async () => {
        await choose(Number(button.dataset.trace));
        byId("traces").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      });
    }
    charts.set(chart, draw);
    if (driftChart) charts.set(driftChart, drawDrift);
    return choose(0);
  }

  // ---- training ----------------------------------------------------------------------------------------------------

  async function curveSection() {
    // All of them before the first is drawn: a chart takes the width that it then has.
    const figures = content.curves.map((group) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = group.title;
      const chart = document.createElement("div");
      chart.className = "chart";
      chart.setAttribute("role", "img");
      chart.setAttribute("aria-label", `${group.title} over the steps of training`);
      figure.append(caption, chart);
      byId("curves").append(figure);
      return [group, chart];
    });
    for (const [group, chart] of figures) {
      const every = group.series.flatMap((one) => one.y).filter((value) => value !== null);
      const logarithmic = Math.min(...every) > 0 && Math.max(...every) / Math.min(...every) > 30;
      await drawn(chart, async () => {
        const colors = palette(), last = Math.max(...group.series.flatMap((one) => one.x));
        const made = group.series.map((one, i) => ({
          x: one.x, y: one.y, name: plain(shortened(one.name, 34)), type: "scatter",
          mode: one.x.length > 40 ? "lines" : "lines+markers", marker: { size: 6 },
          line: { color: colors.series[i % colors.series.length], width: 1.8, dash: ["solid", "dot", "dash"][Math.floor(i / colors.series.length) % 3] },
          hovertemplate: "%{y:.4~g}",
        }));
        const rows = Math.ceil(group.series.length / Math.max(1, Math.floor(chart.clientWidth / 230)));
        const more = {
          height: 270 + (group.series.length > 1 ? 20 * rows : 0), margin: { l: 60, r: 12, t: group.series.length > 1 ? 8 + 20 * rows : 10, b: 44 }, hovermode: "x unified",
          dragmode: "zoom", showlegend: group.series.length > 1,
          xaxis: axis(colors, last < 8 ? { dtick: 1 } : {}), yaxis: axis(colors, { type: logarithmic ? "log" : "linear", nticks: 6 }),
        };
        more.xaxis.title.text = "step";
        if (logarithmic) more.yaxis.title.text = "logarithmic";
        const made_layout = layout(colors, more);
        made_layout.legend = { ...made_layout.legend, x: 0, xanchor: "left", y: 1.02 };
        if (printing) made_layout.width = PRINT_WIDTH / 2 - 20;
        await library.react(chart, made, made_layout, { ...settings(group.title), doubleClick: "reset" });
      });
    }
  }

  // ---- light, dark and paper ---------------------------------------------------------------------------------------

  const redrawAll = () => Promise.all([...charts.values()].map((draw) => draw()));

  async function begin() {
    if (!traces.length && !content.curves.length) return;
    try {
      library = await loadLibrary();
    } catch (problem) {
      for (const chart of document.querySelectorAll(".chart, #curves")) {
        chart.textContent = "This browser cannot draw the charts (it is from before 2023); the tables are complete.";
      }
      return;
    }
    if (traces.length) await traceSection();
    if (content.curves.length) await curveSection();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
    const onPaper = (value) => {
      printing = value;
      document.documentElement.classList.toggle("paper", value);
      redrawAll();
    };
    addEventListener("beforeprint", () => onPaper(true));
    addEventListener("afterprint", () => onPaper(false));
    document.documentElement.dataset.ready = "true";
  }

  begin();
})();
