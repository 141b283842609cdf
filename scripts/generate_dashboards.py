"""Writes Grafana's dashboards into `src/tidegate/observability/dashboards` (`--check`: only compares).

Uses Grafana's own SDK, which only development needs: what it writes is packaged.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.endpoints import ENDPOINT_BOARD, EXPERIMENT, VERSION_BOARD
from dashboards.platform import FLEET, JOBS
from dashboards.spec import Board, Panel

FOLDER = Path(__file__).resolve().parent.parent / "src" / "tidegate" / "observability" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT, STAT_HEIGHT = 8, 4

BOARDS = (FLEET, ENDPOINT_BOARD, VERSION_BOARD, EXPERIMENT, JOBS)


def built(board: Board) -> str:
    """Grafana's JSON of a dashboard."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"tidegate-{board.name}")
        .description(board.about)
        .tags(["tidegate"])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for label, metric in board.variables:
        made = made.with_variable(_variable(label, metric))
    for number, panel in enumerate(board.panels, 1):
        made = made.with_panel(_panel(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _links() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Tidegate").type(DashboardLinkType.DASHBOARDS).tags(["tidegate"])
    return link.as_dropdown(True).keep_time(True).include_vars(True)


def _variable(label: str, metric: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(label).datasource(SOURCE).query(f"label_values({metric}, {label})")
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NATURAL_ASC)


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel | heatmap.Panel:
    made: timeseries.Panel | stat.Panel | heatmap.Panel
    if panel.kind == "number":
        made = stat.Panel().height(STAT_HEIGHT)
    elif panel.kind == "heat map":
        made = heatmap.Panel().height(HEIGHT)
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        made = timeseries.Panel().height(HEIGHT).legend(legend.show_legend(True).calcs([]))
        made = made.fill_opacity(8).show_points(VisibilityMode.NEVER).min(0)
    made = made.title(panel.title).description(panel.meaning).unit(panel.unit).span(panel.width).datasource(SOURCE)
    for at, (expr, legend_format) in enumerate(panel.queries):
        made = made.with_target(_query(panel, expr, legend_format, chr(ord("A") + at)))
    return made


def _query(panel: Panel, expr: str, legend_format: str, ref_id: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).ref_id(ref_id).legend_format(legend_format).datasource(SOURCE)
    if panel.kind == "heat map":
        return query.range().format(PromQueryFormat.HEATMAP)
    return query.instant() if panel.kind == "number" else query.range()


def main() -> int:
    """0 when all files are (now) as they are made here."""
    stale = []
    for board in BOARDS:
        path, text = FOLDER / f"{board.name}.json", built(board)
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"not current: {', '.join(stale)}; run 'make dashboards'\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
