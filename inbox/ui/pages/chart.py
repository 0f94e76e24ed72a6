"""Numbers over time as a small chart in SVG. Attributes only: the policy of the pages allows no styles in them."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 240, 40

_CHART = Markup(
    '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
    '<line x1="0" y1="{}" x2="{}" y2="{}" stroke-width="1"/>{}</svg>'
)
_BAR = Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>')


def chart(values: Sequence[int], refused: Sequence[int], label: str) -> Markup:
    """Return a bar for each place in time, what was refused on top of what was accepted; `label` is read aloud."""
    most = max(1, *(good + bad for good, bad in zip(values, refused, strict=True)))
    step, unit, floor = WIDTH / len(values), (HEIGHT - 2) / most, HEIGHT - 1
    bars = Markup("")
    for place, (good, bad) in enumerate(zip(values, refused, strict=True)):
        for kind, low, number in (("good", 0, good), ("bad", good, bad)):
            if number:
                bars += _BAR.format(kind, place * step, floor - (low + number) * unit, step * 0.8, number * unit)
    return _CHART.format(WIDTH, HEIGHT, label, floor + 0.5, WIDTH, floor + 0.5, bars)
