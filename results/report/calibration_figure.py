"""The figure of a run's calibration: the reliability diagram beside the curves of risk over coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import GREY, MARKERS, OKABE_ITO, WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..calibration.classes import Reliability
    from ..calibration.table import Calibration


@styled
def figure(done: Calibration) -> Figure | None:
    """Reliability (where there are class probabilities) and risk over coverage; None where there is neither."""
    from matplotlib.figure import Figure

    panels = [panel for panel, there in ((_reliability, done.reliability), (_risk, done.curves)) if there]
    if not panels:
        return None
    drawn = Figure(figsize=(WIDTH / 2 * len(panels) + 0.6, 2.9), layout="constrained")
    for panel, axes in zip(panels, drawn.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel(axes, done)
    return drawn


def _reliability(axes: Axes, done: Calibration) -> None:
    bins: Reliability | None = done.reliability
    assert bins is not None
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--", label="calibrated")
    axes.plot(bins.confidence, bins.right, "o-", color=OKABE_ITO[0], lw=1.2, ms=4, label=f"ECE {bins.error:.3f}")
    axes.set(xlabel="mean confidence of a bin", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")


def _risk(axes: Axes, done: Calibration) -> None:
    classes = done.run.task.kind == "classification"
    for k, (target, curve) in enumerate(done.curves.items()):
        name = "surest first" if classes else target
        axes.plot(curve.coverage, curve.risk, color=OKABE_ITO[k], lw=1.4, label=f"{name}, area {curve.area:.3f}")
        axes.plot([1], [curve.loss], MARKERS[k], color=OKABE_ITO[k], ms=4)
        axes.axhline(curve.loss, color=OKABE_ITO[k], lw=0.7, ls=":")
    axes.set(xlabel="share answered (coverage)", ylabel="share that is wrong" if classes else "mean squared error")
    axes.set(xlim=(0, 1.02), ylim=(0, None))
    axes.legend(loc="best")
