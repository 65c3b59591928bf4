// The dashboard of Grafana's published types, with the panels that Headwater uses in place of "anything".
import type { Dashboard, FieldConfig, Panel, RowPanel } from "@grafana/schema/dist/types/raw/dashboard/x/types.gen";
import type * as bargauge from "@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen";
import type * as stat from "@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type * as timeseries from "@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";

// Grafana fills in what is not given; what is given has to be known.
type Some<T> = T extends (infer Item)[] ? Some<Item>[] : T extends object ? { [Key in keyof T]?: Some<T[Key]> } : T;

interface PrometheusQuery {
  refId: string;
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
}

type Checked<Type extends string, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
  id: number;
  title: string;
  description: string;
  type: Type;
  options: Some<Options>;
  fieldConfig: { defaults: Omit<FieldConfig, "custom"> & { custom?: Some<Custom> }; overrides: never[] };
  targets: PrometheusQuery[];
};

export type CheckedDashboard = Omit<Dashboard, "panels"> & {
  uid: string;
  title: string;
  panels: (
    | RowPanel
    | Checked<"timeseries", timeseries.Options, timeseries.FieldConfig>
    | Checked<"stat", stat.Options, Record<string, never>>
    | Checked<"bargauge", bargauge.Options, Record<string, never>>
  )[];
};
