"""Planning: the difference that an experiment can find, and how many trials a wanted power needs.

A mean difference over T trials and S subsets has the variance trial/T + subset/S + rest/(T S)
(`dependence.Components`). More trials shrink the first and the last part; the second one is the test set, which no
number of trials improves. So there are two answers: on *these* test utterances (the subset part does not count, as in
the test over trial means), and on *other* utterances of the same kind (it counts, and sets a floor).

Power is exact for a t-test: the noncentral t distribution with noncentrality difference / standard error. The floor
and the first guesses use the normal approximation, where the detectable difference is (z_{1-alpha/2} + z_power)
standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...datasets.core.errors import SerbenchError
from .dependence import Components
from .significance import NAN

ALPHA = 0.05
POWER = 0.8
MOST_TRIALS = 1000


@dataclass(frozen=True)
class Plan:
    """What an experiment can find, from the components of one that was run.

    Attributes
    ----------
    detectable : smallest difference found with the wanted power on these test utterances, with the trials at hand
    detectable_elsewhere : the same where other utterances of the same kind count too (normal approximation)
    floor : what `detectable_elsewhere` approaches with ever more trials: only a larger test set goes below it
    power : of the test over trial means for the wanted difference, with the trials at hand
    needed : trials that reach the wanted power for the wanted difference on these utterances; None: more than 1000
    needed_elsewhere : the same where other utterances count; None: no number of trials reaches it
    """

    detectable: float
    detectable_elsewhere: float
    floor: float
    power: float
    needed: int | None
    needed_elsewhere: int | None


def t_power(difference: float, error: float, degrees: float, alpha: float = ALPHA) -> float:
    """Power of a two-tailed t-test: chance that |t| is beyond its critical value when the difference is real.

    `error` is the standard error of the mean difference, `degrees` its degrees of freedom.
    """
    _check(alpha, "alpha")
    if degrees <= 0 or not math.isfinite(difference) or not math.isfinite(error) or error < 0:
        return NAN
    if error == 0:
        return 1.0 if difference else alpha
    from scipy.special import nctdtr, stdtrit

    critical, shift = float(stdtrit(degrees, 1 - alpha / 2)), abs(difference) / error
    # the library answers NaN where a probability is below 1e-10: the far tail, and everything when the shift is huge
    inside, tail = (float(nctdtr(degrees, shift, edge)) for edge in (critical, -critical))
    return min(1.0, 1 - (inside if math.isfinite(inside) else 0.0) + (tail if math.isfinite(tail) else 0.0))


def normal_power(difference: float, error: float, alpha: float = ALPHA) -> float:
    """Power of a two-tailed z-test, the approximation of `t_power` for many degrees of freedom."""
    _check(alpha, "alpha")
    if error == 0:
        return 1.0 if difference else alpha
    from scipy.special import ndtr, ndtri

    z, shift = float(ndtri(1 - alpha / 2)), abs(difference) / error
    return float(ndtr(shift - z) + ndtr(-shift - z))


def detectable_difference(error: float, degrees: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """Smallest difference that a two-tailed t-test finds with the wanted power; on the metric's own scale."""
    _check(alpha, "alpha")
    _check(power, "power")
    if not math.isfinite(error) or error < 0 or degrees <= 0:
        return NAN
    if error == 0 or power <= alpha:
        return 0.0
    from scipy.optimize import brentq

    highest = 1.0
    while t_power(highest, 1.0, degrees, alpha) < power:
        highest *= 2
    return error * float(brentq(lambda d: t_power(d, 1.0, degrees, alpha) - power, 0.0, highest, xtol=1e-10))


def detectable_normal(error: float, power: float = POWER, alpha: float = ALPHA) -> float:
    """`detectable_difference` for known variance: (z_{1-alpha/2} + z_power) standard errors."""
    _check(alpha, "alpha")
    _check(power, "power")
    from scipy.special import ndtri

    return error * float(ndtri(1 - alpha / 2) + ndtri(power)) if error >= 0 else NAN


def trials_needed(
    parts: Components, difference: float, power: float = POWER, alpha: float = ALPHA, *, elsewhere: bool = False
) -> int | None:
    """Trials that give the wanted power for a difference; None where none up to 1000 do.

    On the same test utterances by the exact t-test over trial means; `elsewhere` counts the subset component too, by
    the normal approximation.
    """
    if difference == 0 or not math.isfinite(difference):
        raise SerbenchError(f"difference={difference} can't be planned for. Expected the smallest one that matters.")
    for trials in range(2, MOST_TRIALS + 1):
        if elsewhere:
            reached = normal_power(difference, math.sqrt(parts.variance_of_mean(trials)), alpha)
        else:
            reached = t_power(difference, same_test_error(parts, trials), trials - 1, alpha)
        if math.isnan(reached):
            return None
        if reached >= power:
            return trials
    return None


def plan(parts: Components, difference: float, power: float = POWER, alpha: float = ALPHA) -> Plan:
    """What the experiment with these components can find, and what a wanted difference needs."""
    trials = parts.trials
    here, elsewhere = same_test_error(parts, trials), math.sqrt(parts.variance_of_mean())
    return Plan(
        detectable_difference(here, trials - 1, power, alpha),
        detectable_normal(elsewhere, power, alpha),
        detectable_normal(math.sqrt(parts.subset / parts.subsets), power, alpha),
        t_power(difference, here, trials - 1, alpha),
        trials_needed(parts, difference, power, alpha),
        trials_needed(parts, difference, power, alpha, elsewhere=True),
    )


def same_test_error(parts: Components, trials: int) -> float:
    """Standard error of the mean difference over trials on the same test utterances."""
    return math.sqrt((parts.trial + parts.rest / parts.subsets) / trials) if trials else NAN


def _check(share: float, name: str) -> None:
    if not 0 < share < 1:
        usual = POWER if name == "power" else ALPHA
        raise SerbenchError(f"{name}={share} is out of range. Expected a share such as {usual}.")
