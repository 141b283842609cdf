"""Plots as inline SVG, for the console and for reports of one file: the same input makes the same bytes.

Pure: the standard library alone, and nothing of Tidegate. No style attributes and no scripts, so that the strictest
Content-Security-Policy takes them; how they look is in `STYLE`, once on the page. A missing value (None, NaN) is a gap.
"""

from tidegate.draw.bars import Bins, bar_share, bin_names, histogram_pair
from tidegate.draw.blocks import blocks
from tidegate.draw.frame import Axis, PlotSize
from tidegate.draw.limits import Limit, limits
from tidegate.draw.lines import Band, Line, interval_series, series, sparkline
from tidegate.draw.plot import Plot, PlotTable
from tidegate.draw.rows import Parts, PlotRow, rows
from tidegate.draw.stairs import Stair, stairs
from tidegate.draw.style import STYLE
from tidegate.draw.timeline import TimelineSpan, timeline

__all__ = [
    "STYLE",
    "Axis",
    "Band",
    "Bins",
    "Limit",
    "Line",
    "Parts",
    "Plot",
    "PlotRow",
    "PlotSize",
    "PlotTable",
    "Stair",
    "TimelineSpan",
    "bar_share",
    "bin_names",
    "blocks",
    "histogram_pair",
    "interval_series",
    "limits",
    "rows",
    "series",
    "sparkline",
    "stairs",
    "timeline",
]
