// One dashboard, drawn from window.BOARD (its JSON) and window.DATA (panel id → what Prometheus returned for each query).
// The chrome, the numbers, the curves, legends, units and thresholds are Grafana's components; the grid is ours.
import { createTheme, dateTime, FieldType, getDisplayProcessor, getDisplayValueAlignmentFactors, getFieldDisplayValues,
  ThemeContext, VizOrientation } from "@grafana/data";
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import { MemoryRouter } from "react-router-dom";

const CELL = 30, GAP = 8;
// What Grafana's time series panel sets where a dashboard says nothing.
const LINES = { drawStyle: "line", lineInterpolation: "linear", lineWidth: 1, fillOpacity: 0, gradientMode: "none",
  spanNulls: false, insertNulls: false, showPoints: "auto", pointSize: 5, stacking: { mode: "none", group: "A" },
  axisPlacement: "auto", axisLabel: "", axisColorMode: "text", axisBorderShow: false, axisCenteredZero: false,
  axisGridShow: true, scaleDistribution: { type: "linear" }, hideFrom: { legend: false, tooltip: false, viz: false },
  thresholdsStyle: { mode: "off" } };
const { BOARD: board, DATA: data, SPAN: span, DARK: dark } = window;
const theme = createTheme({ colors: { mode: dark ? "dark" : "light" } });
const range = { from: dateTime(span[0]), to: dateTime(span[1]), raw: { from: dateTime(span[0]), to: dateTime(span[1]) } };

const named = (format, labels) => format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");

/** A frame a series, as Grafana's Prometheus data source makes them. */
function framesOf(panel) {
  const numbers = panel.type !== "timeseries";
  const found = panel.targets.flatMap((target, index) => (data[panel.id]?.[index] ?? []).map((series) => ({ target, series })));
  return found.map(({ target, series }, index) => {
    const points = numbers ? series.values.slice(-1) : series.values;
    const { custom, color, ...defaults } = panel.fieldConfig.defaults;
    const field = {
      name: "Value", type: FieldType.number, labels: series.metric, values: points.map(([, value]) => Number(value)),
      config: { ...defaults, displayNameFromDS: named(target.legendFormat, series.metric),
        color: color ?? { mode: numbers ? "thresholds" : "palette-classic" }, custom: { ...LINES, ...custom } },
      state: { seriesIndex: index, origin: { frameIndex: index, fieldIndex: 1 } },
    };
    field.display = getDisplayProcessor({ field, theme, timeZone: "utc" });
    const time = { name: "Time", type: FieldType.time, config: { interval: span[2] }, values: points.map(([at]) => at * 1000) };
    return { refId: target.refId, length: points.length, fields: [time, field] };
  });
}

function Numbers({ panel, frames, width, height }) {
  const values = () => getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text, theme, data: frames, timeZone: "utc" });
  return <VizRepeater source={frames} getValues={values} getAlignmentFactors={getDisplayValueAlignmentFactors}
    width={width} height={height} orientation={VizOrientation.Auto} autoGrid renderCounter={0}
    renderValue={({ value, alignmentFactors, count, width, height }) => (
      <BigValue value={value.display} count={count} width={width} height={height} theme={theme}
        alignmentFactors={alignmentFactors} colorMode={panel.options.colorMode} graphMode={panel.options.graphMode}
        justifyMode="auto" textMode="auto" />)} />;
}

/** As Grafana's bar gauge panel: the longest bar is the highest number. */
function Bars({ panel, frames, width, height }) {
  const most = Math.max(...frames.map((frame) => frame.fields[1].values[0]));
  const values = () => getFieldDisplayValues({ fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text, theme, data: frames, timeZone: "utc" });
  const { orientation, displayMode, showUnfilled, valueMode, namePlacement } = panel.options;
  return <VizRepeater source={frames} getValues={values} getAlignmentFactors={getDisplayValueAlignmentFactors}
    width={width} height={height} orientation={orientation} minVizHeight={16} maxVizHeight={300} itemSpacing={8} renderCounter={0}
    renderValue={({ value, alignmentFactors, width, height }) => (
      <BarGauge value={value.display} field={{ ...value.field, max: value.field.max ?? most }} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
        width={width} height={height} theme={theme} alignmentFactors={alignmentFactors} itemSpacing={8}
        {...{ orientation, displayMode, showUnfilled, valueDisplayMode: valueMode, namePlacement }} />)} />;
}

function Drawn({ panel, width, height }) {
  const frames = framesOf(panel);
  if (!frames.length) return <div className="empty">No data</div>;
  if (panel.type === "stat") return <Numbers {...{ panel, frames, width, height }} />;
  if (panel.type === "bargauge") return <Bars {...{ panel, frames, width, height }} />;
  return <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone="utc"
    legend={{ calcs: [], ...panel.options.legend }} options={{}} />;
}

function Placed({ panel, unit }) {
  const { x, y, w, h } = panel.gridPos;
  const width = w * unit - GAP, height = h * (CELL + GAP) - GAP;
  const style = { position: "absolute", left: x * unit, top: y * (CELL + GAP), width, height };
  if (panel.type === "row") return <div className="heading" style={style}>{panel.title}</div>;
  return <div className="panel" data-title={panel.title} style={style}>
    <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
      {(inner, tall) => <Drawn panel={panel} width={inner} height={tall} />}
    </PanelChrome>
  </div>;
}

const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
const unit = (window.innerWidth - 2 * GAP) / 24;
document.body.style.background = theme.colors.background.canvas;
createRoot(document.getElementById("root")).render(
  <MemoryRouter><ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <h1>{board.title}</h1>
    <div style={{ position: "relative", margin: GAP, height: bottom * (CELL + GAP) }}>
      {board.panels.map((panel) => <Placed key={panel.id} panel={panel} unit={unit} />)}
    </div>
  </ThemeContext.Provider></MemoryRouter>);
