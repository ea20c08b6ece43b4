"""The plot of the benchmark as SVG, written by hand: two panels of bars, one row a client, readable light and dark."""

from collections.abc import Sequence
from html import escape

from benchmarks.measure import Summary

_ROW_PX, _GAP_PX, _TOP_PX = 19, 30, 62
_NAME_PX, _PANEL_PX, _BETWEEN_PX, _VALUE_PX = 104, 300, 66, 48
_LEFT_PX = 14 + _NAME_PX
_SECOND_PX = _LEFT_PX + _PANEL_PX + _BETWEEN_PX
_WIDTH_PX = _SECOND_PX + _PANEL_PX + _VALUE_PX

_STYLE = """\
  .page { fill: #ffffff }
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 13px; font-weight: 600 }
  .faint { fill: #59636e; font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .other { fill: #8c959f }
  .ours { fill: #1a7f64 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }
    text { fill: #e6edf3 }
    .faint { fill: #9198a1; stroke: #0d1117 }
    .grid { stroke: #30363d }
    .other { fill: #6e7681 }
    .ours { fill: #3fb68b }
  }"""

_OURS = frozenset({"fixed", "ours", "overlap"})
_LAG_TICKS_S = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0)


def svg(rows: Sequence[Summary]) -> str:
    """Draw efficiency and mean lag of the rows that were measured."""
    shown = [row for row in rows if row.runs]
    scenarios = list(dict.fromkeys(row.scenario.name for row in shown))
    height = _TOP_PX + len(shown) * _ROW_PX + len(scenarios) * _GAP_PX + 8
    most_lag_s = max(row.mean("lag_s") or 0.0 for row in shown) if shown else 1.0
    tick_s = next((tick for tick in _LAG_TICKS_S if most_lag_s / tick <= 5), 5.0)
    ticks = int(most_lag_s / tick_s) + 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH_PX} {height}" width="{_WIDTH_PX}" '
        f'height="{height}" role="img" aria-label="Efficiency and lag of each client in each scenario">',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="page" width="{_WIDTH_PX}" height="{height}" rx="6"/>',
        _text(_LEFT_PX, 22, "Efficiency: how well the slots are used", "title"),
        _text(_LEFT_PX, 38, "ideal span / measured span; longer is better", "faint"),
        _text(_SECOND_PX, 22, "Lag: from Ready to the poll that sees it", "title"),
        _text(_SECOND_PX, 38, "mean seconds; shorter is better", "faint"),
    ]
    for left, labels in (
        (_LEFT_PX, [f"{share:g}" for share in (0, 0.25, 0.5, 0.75, 1)]),
        (_SECOND_PX, [f"{tick * tick_s:g}" for tick in range(ticks + 1)]),
    ):
        for number, label in enumerate(labels):
            x = left + number * _PANEL_PX / (len(labels) - 1)
            parts.append(f'<path class="grid" d="M{x:.1f} {_TOP_PX - 4}V{height - 8}"/>')
            parts.append(_text(x, _TOP_PX - 9, label, "faint", anchor="middle"))
    y = _TOP_PX
    for name in scenarios:
        of_scenario = [row for row in shown if row.scenario.name == name]
        parts.append(_text(14, y + 18, of_scenario[0].scenario.title, "title"))
        y += _GAP_PX
        for row in of_scenario:
            kind = "ours" if row.client.name in _OURS else "other"
            parts.append(_text(_LEFT_PX - 8, y + 12, row.client.name, "", anchor="end"))
            for left, value, most, digits in (
                (_LEFT_PX, row.mean("efficiency"), 1.0, 3),
                (_SECOND_PX, row.mean("lag_s"), ticks * tick_s, 2),
            ):
                assert value is not None
                width = value / most * _PANEL_PX
                parts.append(
                    f'<rect class="{kind}" x="{left}" y="{y + 2}" width="{width:.1f}" '
                    f'height="{_ROW_PX - 5}" rx="2"/>'
                )
                parts.append(_text(left + width + 5, y + 13, f"{value:.{digits}f}", "faint"))
            y += _ROW_PX
    parts.append("</svg>\n")
    return "\n".join(parts)


def _text(x: float, y: float, words: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
