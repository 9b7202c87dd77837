"""The part of the page of accuracies that holds proxies against what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accuracy.proxy_error import SMALL_CHANGE_NATS, Pair, by_method, errors

_HOW = (
    "For methods that prune a trained model at once. *Output error*: the root mean square over "
    "layers of |x (w - w0)^T| / |x w0^T| on calibration data; a curve 1 - exp(-(e / scale)^power) "
    "of the share of accuracy lost, fitted by least squares on the runs of the *other* models, "
    "turns it into points of accuracy. *Scaling fit*: the loss changes by the sum over layers of "
    "a_l e_l^2, a_l fitted to noise of output error 0.05 to 0.2 in that layer alone, nothing "
    "fitted to sparse models; the change of the perplexity is its exponential. Errors of the fit "
    f"are medians, apart for measured changes up to and over {SMALL_CHANGE_NATS} nats: the fit is "
    "local. Tau is Kendall's, between estimate and measurement over methods, patterns and seeds "
    "of one model. Neither proxy says anything of methods that train.\n"
)


def proxies_page(of: Sequence[Pair]) -> str:
    """Tables in Markdown: by model what each proxy was off, by method in which direction."""
    found = errors(of)
    lines = [
        "| model | runs | curve of the others | accuracy lost: mean error | tau | loss change: "
        f"error up to {SMALL_CHANGE_NATS} nats | over | tau |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        curve = (
            "-" if each.curve is None
            else f"scale {each.curve.scale:.2f}, power {each.curve.power:.2f}"
        )  # fmt: skip
        off = "-" if each.drop_error is None else f"{100 * each.drop_error:.1f} points"
        small, large = (
            "-" if value is None else f"{value:.3f} nats" for value in (each.small, each.large)
        )
        lines.append(
            f"| {' '.join(each.model)} | {each.runs} | {curve} | {off} | {each.drop_rank:.2f} | "
            f"{small} | {large} | {each.loss_rank:.2f} |"
        )
    curves = {each.model: each.curve for each in found if each.curve is not None}
    bias = by_method(of, curves)
    said = ", ".join(f"{method} {100 * value:+.1f}" for method, value in sorted(bias.items()))
    tail = (
        f"\nEstimated minus measured accuracy lost, by method, in points: {said}.\n" if bias else ""
    )
    return "\n".join([_HOW, *lines]) + "\n" + tail + _layer_against_task(of)


def _layer_against_task(of: Sequence[Pair]) -> str:
    """Where the smaller error of the layers goes with the larger loss of accuracy."""
    groups: dict[tuple[tuple[str, str], str], dict[str, list[Pair]]] = {}
    for pair in of:
        groups.setdefault((pair.model, pair.pattern), {}).setdefault(pair.method, []).append(pair)
    lines = []
    for (model, pattern), methods in groups.items():
        if "wanda" not in methods or "nm_magnitude" not in methods:
            continue
        (wanda, magnitude) = (
            (
                sum(p.output_error for p in here) / len(here),
                100 * sum(p.drop for p in here) / len(here),
            )
            for here in (methods["wanda"], methods["nm_magnitude"])
        )
        if wanda[0] < magnitude[0] and wanda[1] > magnitude[1]:
            lines.append(
                f"| {' '.join(model)} | {pattern} | {wanda[0]:.3f}, {magnitude[0]:.3f} | "
                f"{wanda[1]:.1f}, {magnitude[1]:.1f} |"
            )
    if not lines:
        return ""
    return (
        "\nWanda does what it is for, the smaller error in the layers, and still costs more "
        "accuracy than magnitude here:\n\n| model | pattern | output error: wanda, magnitude | "
        "points lost: wanda, magnitude |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
