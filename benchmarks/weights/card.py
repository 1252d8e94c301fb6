"""The card of a trained model in Hugging Face's format: what it is, its training, scores, limits and licence.

The card says what its run's record says, and nothing that was not measured. `ModelCard` of huggingface_hub fills the
text and writes the front matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...datasets.core.libraries import library

UNSTATED = "unknown"
"""What the front matter has for weights whose licence nobody stated."""
TEXT = """---
{{ card_data }}
---

# {{ title }}

{{ summary }}. One training by serbench {{ serbench }}, the benchmark suite for speech emotion recognition.

| | |
|---|---|
{% for name, value in facts %}| {{ name }} | {{ value }} |
{% endfor %}
## Trained on

{% for name, value in training %}- {{ name }}: {{ value }}
{% endfor %}
## Scores

| target | metric | mean | 95 % interval |
|---|---|---:|---:|
{% for row in scores %}| {{ row.target }} | {{ row.metric }} | {{ "%.3f" | format(row.value) }} | {{ row.interval }} |
{% endfor %}
{{ measured }}

Signature: `{{ signature }}`
{% for mark in marks %}
- The signature carries the mark `{{ mark }}`.{% endfor %}

## Use it

{{ features_note }}

    serbench pull SOURCE --out model
    serbench predict recording.wav --weights model

or in Python, where `data` has the features above:

    from serbench.sermodels import from_pretrained
    from_pretrained("model").predict(data)

`serbench run --weights model --dataset ...` scores it on another corpus as it is.{% if onnx %}

`model.onnx` is the network alone, for any program that reads ONNX: {{ onnx }}{% endif %}

## Limits

{% for limit in limits %}- {{ limit }}
{% endfor %}
## Licence

{{ licence }}
"""


def render(facts: Mapping[str, Any], licence: str, languages: Sequence[str] = (), onnx: str = "") -> str:
    """The card's text.

    Parameters
    ----------
    facts : of the model, as its `config.json` holds them
    licence : of the weights, an identifier of the hub such as "cc-by-4.0"
    languages : of the test items, as the corpus names them
    onnx : what the ONNX file takes and gives; empty where there is none
    """
    hub = library("huggingface_hub", "model cards")
    metadata = hub.ModelCardData(
        library_name="serbench",
        license=licence,
        tags=["speech-emotion-recognition", "serbench", facts["model"]],
        language=[name for name in languages if re.fullmatch("[a-z]{2,3}", name)] or None,
        pipeline_tag="audio-classification" if facts["task"]["kind"] == "classification" else None,
        model_name=_title(facts),
        eval_results=[_result(hub.EvalResult, facts, row) for row in facts["scores"]],
    )
    card = hub.ModelCard.from_template(
        metadata,
        template_str=TEXT,
        title=_title(facts),
        summary=plain(facts["summary"]).rstrip("."),
        serbench=facts["made_by"],
        facts=[(name, plain(value)) for name, value in _facts(facts) if value],
        training=[(name, plain(value)) for name, value in _training(facts) if value],
        scores=[{**row, "interval": f"{row['low']:.3f} to {row['high']:.3f}"} for row in facts["scores"]],
        measured=plain(_measured(facts)),
        signature=facts["signature"],
        marks=[plain(mark) for mark in facts["marks"]],
        features_note=plain(_features_note(facts)),
        onnx=onnx,
        limits=[plain(text) for text in _limits(facts, languages)],
        licence=plain(_licence(facts, licence)),
    )
    return str(card)


def plain(text: Any) -> str:
    """A text on one line that no Markdown table or page takes for its own marks."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "/").replace("<", "&lt;").strip()


def _title(facts: Mapping[str, Any]) -> str:
    return plain(f"{facts['name']}, {facts['task']['name']}, {facts['dataset']['name']}")


def _result(kind: Any, facts: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
    """A score as the hub's index of models has it."""
    dataset = facts["dataset"]
    return kind(
        task_type="audio-classification",
        task_name=f"speech emotion recognition ({facts['task']['name']})",
        dataset_type=dataset["name"],
        dataset_name=f"{dataset['name']} {dataset.get('release') or ''}".strip(),
        dataset_args={"digest": dataset["digest"], "protocol": facts["protocol"]["digest"]},
        metric_type=row["metric"].lower(),
        metric_name=f"{row['metric']} ({row['target']})",
        metric_value=round(row["value"], 4),
    )


def _facts(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    task = facts["task"]
    scales = ", ".join(f"{target} on {low:g} to {high:g}" for target, (low, high) in task["scales"].items())
    features = ", ".join(f["signature"] for f in facts["features"].values())
    return [
        ("model", f"`{facts['model']}`, preset `{facts['preset']}`"),
        ("trained parameters", facts["parameters"]),
        ("predicts", ", ".join(task["labels"]) or scales),
        ("every", f"{task['frame_seconds']:g} s" if task["frame_seconds"] else ""),
        ("features", features or "none"),
        ("calibrated by temperature", f"{facts['temperature']:.3f}" if facts.get("temperature") else ""),
    ]


def _training(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    trained, counts = facts["trained_on"], facts["counts"]
    return [
        ("corpus", f"{trained['name']} {trained.get('release') or ''}, table {trained['digest']}"),
        (
            "split",
            f"{trained.get('split') or 'own'}, fold {facts['fold']}, trial {facts['trial']}, seed {facts['seed']}",
        ),
        ("utterances", f"{counts.get('train')} to train on, {counts.get('dev')} to choose by" if counts else ""),
        ("licence of the corpora", facts["dataset"].get("licence")),
        ("cite", facts["dataset"].get("citation")),
    ]


def _measured(facts: Mapping[str, Any]) -> str:
    protocol, how = facts["protocol"], facts["intervals"]
    return (
        f"Mean over {how['trials']} trials and {protocol['subsets']} subsets of the test items "
        f"(folds, pooled: {len(protocol['folds'])}) of {facts['dataset']['name']}, under the protocol "
        f"{protocol['name']}, digest {protocol['digest']}; intervals by {how['resamples']} bootstrap resamples of "
        f"{how['clusters']} clusters ({how['cluster']}) and of trials. They are scores of the recipe: these weights "
        "are one of its trainings."
    )


def _features_note(facts: Mapping[str, Any]) -> str:
    asked = ", ".join(f"{role}: {f['name']}" for role, f in facts["features"].items())
    return (
        f"The weights take the features that serbench makes of the sound ({asked})."
        if asked
        else "It takes no features."
    )


def _limits(facts: Mapping[str, Any], languages: Sequence[str]) -> list[str]:
    task, dataset = facts["task"], facts["dataset"]["name"]
    spoken = f", spoken in {', '.join(languages)}" if languages else ""
    limits = [
        f"The scores hold for recordings like those of {dataset}{spoken}. Other languages, rooms, microphones and ways "
        "of eliciting emotion were not tested here.",
        "It predicts what the corpus's labels say, which is no evidence of what a person feels. It is made for "
        "research, not for decisions about people.",
    ]
    if task["labels"]:
        limits.insert(1, f"Every utterance gets one of {len(task['labels'])} classes, whatever it expresses.")
    return limits + [f"It needs what its configuration names on this path: {path}" for path in facts["paths"]]


def _licence(facts: Mapping[str, Any], licence: str) -> str:
    stated = (
        "Who shared these weights has stated no licence for them."
        if licence == UNSTATED
        else f"The weights: {licence}."
    )
    corpus = facts["dataset"].get("licence") or "unknown"
    return (
        f"{stated} They were made from {facts['dataset']['name']} ({corpus}); see whether that licence covers what is "
        "learned from the corpus. What makes the features has licences of its own (openSMILE: non-commercial)."
    )
