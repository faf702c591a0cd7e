"""Tables of differences to a reference variant, between runs of one seed and one precision."""

from launch.reproduction.cells import difference
from launch.reproduction.plan import NOT_RUN, Result, Row, Rows, markdown
from launch.reproduction.settings import ReproductionSettings
from launch.reproduction.values import Value, accuracy, metric

PROBES = {
    f"probe on {feature}, {labels}": accuracy(labels, feature)
    for feature in ("pooled_z", "pooled_z_v")
    for labels in ("upright", "rotated")
}


def paired_block(settings: ReproductionSettings, dataset: str, rows: Rows) -> dict[str, str]:
    """`DATASET/paired`: differences to the reference seed by seed, in Markdown; empty if the
    dataset has no reference."""
    reference = settings.reference_of(dataset)
    if reference is None:
        return {}
    panels = {panel.title: _times(metric(panel.metric), panel.factor) for panel in settings.panels}
    theirs = {
        (row.precision, result["seed"]): result
        for row in rows.results
        if row.variant == reference
        for result in rows.finished(row)
    }
    found: dict[Row, dict[str, list[float]]] = {}
    for row in rows.results:
        pairs = [
            (result, theirs[row.precision, result["seed"]])
            for result in rows.finished(row)
            if row.variant != reference and (row.precision, result["seed"]) in theirs
        ]
        for title, value_of in (*panels.items(), *PROBES.items()):
            values = [(value_of(result), value_of(other)) for result, other in pairs]
            both = [a - b for a, b in values if a is not None and b is not None]
            if both:
                found.setdefault(row, {})[title] = both
    titles = [
        title for title in (*panels, *PROBES) if any(title in each for each in found.values())
    ]
    lines = [
        [row.code, *(difference(each.get(title, ())) for title in titles)]
        for row, each in found.items()
    ]
    text = markdown([f"less `{reference}`", *titles], lines) if lines else [NOT_RUN]
    return {f"{dataset}/paired": "\n".join(text)}


def _times(value_of: Value, factor: float) -> Value:
    def value(result: Result) -> float | None:
        found = value_of(result)
        return None if found is None else found * factor

    return value
