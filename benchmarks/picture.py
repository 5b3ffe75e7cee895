"""The picture: one panel for each chart, bars for the apps, drawn as SVG by hand.

It is read on white and on black: colours come from a style sheet that asks for the scheme.
"""

from collections.abc import Sequence
from html import escape

from benchmarks.outcome import Chart

COLUMNS = 3
WIDTH, MARGIN, GAP = 960, 12, 28
PANEL = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
HEAD, ROW, BAR = 34, 17, 11
NAME, FIGURE = 70, 52
"""The room for an app's name before its bar, and for its figure behind."""
ROOM = PANEL - NAME - FIGURE
CUT = 2.5
"""A bar longer than this many times Starlette's (or Hesper's) is cut: Quart's would hide them."""

STYLE = """
  text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 12px }
  .quiet, .other-name { fill: #59636e }
  .hesper { fill: #c2410c } .starlette { fill: #57606a } .other { fill: #b6bec8 }
  .raw { fill: none; stroke: #8b949e }
  .hesper-name { font-weight: 600; fill: #c2410c }
  .cut { stroke: #fff; stroke-width: 2; fill: none }
  .aim { stroke: #1a7f37; stroke-dasharray: 3 2 } .aim-name { fill: #1a7f37; font-size: 10px }
  .ground { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet, .other-name { fill: #9198a1 }
    .hesper { fill: #fb923c } .starlette { fill: #9aa4af } .other { fill: #4b535d }
    .raw { stroke: #6e7681 }
    .hesper-name { fill: #fb923c }
    .cut { stroke: #0d1117 }
    .aim { stroke: #3fb950 } .aim-name { fill: #3fb950 }
    .ground { fill: #0d1117 }
  }
"""


def picture(charts: Sequence[Chart], caption: str) -> str:
    """Return the charts as one SVG, which names `caption` at its foot."""
    panels: list[str] = []
    top = float(MARGIN)
    for start in range(0, len(charts), COLUMNS):
        row = charts[start : start + COLUMNS]
        for column, chart in enumerate(row):
            panels += panel(chart, MARGIN + column * (PANEL + GAP), top)
        top += HEAD + ROW * max(len(chart.values) for chart in row) + GAP
    height = top + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
            f' width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{escape(caption)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height:.0f}"/>',
            *panels,
            text(MARGIN, height - 12, caption, "quiet"),
            "</svg>\n",
        ]
    )


def panel(chart: Chart, left: float, top: float) -> list[str]:
    """Return one chart: its title, and a bar for each app, the shortest first."""
    drawn = [text(left, top + 12, f"{chart.title} ({chart.unit})", "title")]
    longest = scale(chart)
    y = top + HEAD - 8
    for name, value in sorted(chart.values.items(), key=lambda item: item[1]):
        drawn += bar(name, value, longest, left, y)
        y += ROW
    if chart.limit is not None and chart.limit <= longest:
        x = left + NAME + ROOM * chart.limit / longest
        drawn.append(f'<path class="aim" d="M{x:.1f} {top + HEAD - 12:.1f}V{y:.1f}"/>')
        drawn.append(text(x, y + 8, "aim", "aim-name", "middle"))
    return drawn


def scale(chart: Chart) -> float:
    """Return the value of a bar that has the whole room."""
    known = [chart.values[name] for name in ("hesper", "starlette") if name in chart.values]
    longest = max(chart.values.values(), default=1.0)
    return max(min(longest, CUT * max(known, default=longest)), 1e-9)


def bar(name: str, value: float, longest: float, left: float, top: float) -> list[str]:
    style = name if name in ("hesper", "starlette", "raw") else "other"
    length = ROOM * min(max(value, 0.0), longest) / longest
    x, baseline = left + NAME, top + BAR - 2
    drawn = [
        text(x - 6, baseline, name, f"{style}-name", "end"),
        f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" width="{max(length, 1.5):.1f}"'
        f' height="{BAR}" rx="1.5"/>',
        text(x + max(length, 1.5) + 5, baseline, figure(value), f"{style}-name"),
    ]
    if value > longest:
        end = x + length - 10
        drawn.append(f'<path class="cut" d="M{end:.1f} {top + BAR + 1:.1f}l5 {-BAR - 2}"/>')
    return drawn


def figure(value: float) -> str:
    """Return a value with about three digits."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}"'
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" {place}{side}>{escape(words)}</text>'
