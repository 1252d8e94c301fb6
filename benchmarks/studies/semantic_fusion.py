"""Semantic fusion: which fusion, which stream and which word vectors, as one table with paired tests.

Tzirakis, Nguyen, Zafeiriou and Schuller (ICASSP 2021, arXiv:2103.02993) compare ways of fusing sound and words
(concatenation, attention, disentangled attention), sound and words alone, and word vectors (Word2Vec, Speech2Vec, and
Speech2Vec mapped into the space of Word2Vec), on SEWA. Their table of numbers is not known to us; here the comparison
is run again. The first row is the whole system; every other one differs from it in one part.

That meaning "can be captured using only the speech modality" is what the paper says of its system, whose release reads
the transcript at test time. Four rows ask it: the transcript's words, recognised words, the words' sound through an
encoder (where no text is read), and no words.

On time-continuous tasks the challenge's own figure stands beside: CCC over the concatenated frames of all test
recordings, and of those of each culture, by population moments and by those of the AVEC scorer
(`results.scores.metrics.ccc_avec`); and published results, which use video too and other recordings, apart from the
ranking. The tests are paired over scores of subsets of whole recordings and trials, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...datasets.schema.corpus import Corpus
from ...results.display.numbers import number
from ...results.display.table import Table, to_markdown as table_markdown
from ...results.record.folder import Run
from ...results.record.storage import write_csv
from ...results.scores.metrics import ccc, ccc_avec
from ...results.scores.scoring import MEAN
from ...results.tables import references as published
from ...results.tables.leaderboard import leaderboard
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.request import Grid
from ..protocol.setting import Corpora
from .claims import Tested, judge, to_markdown
from .study import Findings, Row, Study, base_request, findings_of, fitting_preset, request_for
from .writing import write

MODEL = "semantic-fusion"
FUSIONS = ("attention", "concat")
"""Beside the system's own, disentangled."""
NO_WORDS, RECOGNISED, SPOKEN = "no words", "recognised words", "the words' sound"
"""Rows whose words come from elsewhere than the transcript."""
TITLE = "What the parts of semantic fusion add"
ALL = "all"
"""Name of the part that holds every test recording."""
COLUMNS = ("model", "trial", "recordings of", "recordings", "frames", "target", "CCC", "CCC by AVEC's moments")
MOMENTS = (
    "CCC over the concatenated frames of all recordings of a part, mean ± standard deviation over trials. AVEC: the "
    "challenges' scorer, which divides the covariance by n and the variances by n - 1."
)


@dataclass(frozen=True)
class WordFiles:
    """Where words come from, each a file or empty.

    Attributes
    ----------
    words : times of the transcript's words; empty = the corpus's own
    recognised : words that were recognised, `serbench words transcribe`
    encoder, map : an encoder of spoken words and the map of its vectors into the system's space
    """

    words: str = ""
    recognised: str = ""
    encoder: str = ""
    map: str = ""


def ablations(
    corpus: Corpus, vectors: Mapping[str, str], baselines: Sequence[str] = ("chance",), files: WordFiles | None = None
) -> Study:
    """The rows: the system, other fusions, other sources of words, each stream alone and each kind of word vectors.

    Parameters
    ----------
    vectors : name -> file of word vectors; the first one is the system's. Empty = rows without words
    baselines : further models, in their default configuration
    files : sources of words; each that is given has a row

    Raises
    ------
    SerbenchError
        For a file of word vectors that is not there.
    """
    for name, file in vectors.items():
        if not Path(file).expanduser().is_file():
            raise SerbenchError(f"--vectors {name}={file}: there is no such file. Expected one of 'serbench words'.")
    files = _checked(files or WordFiles(), vectors)
    rows = [*(_with_words(vectors, files) if vectors else _without_words()), *(Row(name, name) for name in baselines)]
    notes = [] if vectors else ["No word vectors were named, so only rows without words are compared."]
    if vectors and corpus.word_source is None:
        notes.append(f"{corpus.name} has no words: unless model.word_times names some, every word vector is zero.")
    return Study("semantic", "Semantic fusion and its parts", tuple(rows), "others", notes=tuple(notes))


def run_ablations(study: Study, grid: Grid, how: Execution, corpora: Corpora | None = None) -> Findings:
    """Run every row on the grid's task (none: the corpus's first) and compare them.

    Raises
    ------
    SerbenchError
        For a setting that the study decides, a preset that there isn't, or when trials failed (says what to run).
    """
    corpora, base = corpora or Corpora(), base_request(grid)
    task = base.task or corpora.get(base.places()[0]).tasks[0].name
    requests = [fitting_preset(study, request_for(study, row, task, base)) for row in study.rows]
    return findings_of(study, [run_requests(requests, how, corpora)])


def claims(findings: Findings, tested_on: str) -> pd.DataFrame:
    """What the system's parts add, as planned comparisons with the first row (`claims.judge`).

    Recognised words, and the sound of words, are also compared with no words at all.
    """
    system, *others = findings.study.rows
    names = {row.label: name for row in others if (name := _what_is_added(system, row))}
    judged = [Tested(tested_on, findings)]
    for row in (row for row in others if row.label in (RECOGNISED, SPOKEN)):
        name = f"{row.label} beside the sound" if row.label == RECOGNISED else "the sound of words, no text"
        names[name] = name
        tests = findings.tests[findings.tests["a"].eq(row.label) & findings.tests["b"].eq(NO_WORDS)]
        alone = replace(findings.study, rows=(row,))
        judged.append(Tested(tested_on, replace(findings, study=alone, tests=tests.assign(b=name))))
    return judge(judged, names, "semantic fusion")


def challenge_scores(run: Run, parts: Mapping[str, str]) -> pd.DataFrame:
    """Scores as a challenge gives them: one row per complete trial, part of the recordings, and target.

    Parameters
    ----------
    parts : recording -> its part, such as the culture; where there are several, each is scored beside `ALL`, which
        has every recording

    Returns
    -------
    the columns of `COLUMNS` without `model`; of several targets a further one, `mean`

    Raises
    ------
    SerbenchError
        For a task that is not time-continuous.
    """
    if run.task.kind != "continuous":
        raise SerbenchError(f"{run.run_id}: the task {run.task.name!r} is not time-continuous. Expected traces.")
    rows = run.scored_predictions().sort_values(["trial", "id", "frame"])
    named = rows["id"].map(parts)
    chosen = [(ALL, rows)]
    if named.nunique() > 1:
        chosen += [(str(name), part) for name, part in rows.groupby(named, sort=True)]
    scored = [row for name, part in chosen for row in _challenge_rows(run, name, part)]
    return pd.DataFrame(scored, columns=list(COLUMNS[1:]))


def challenge_table(findings: Findings, corpus: Corpus) -> pd.DataFrame:
    """`challenge_scores` of every row of a study, by the culture of the recordings where the corpus knows it."""
    table = corpus.items(findings.runs[0].task)
    cultures = table["culture"] if "culture" in table else table["language"]
    known = {str(k): str(v) for k, v in cultures.dropna().items()}
    labels = [row.label for row in findings.study.rows]
    each = [challenge_scores(run, known).assign(model=label) for run, label in zip(findings.runs, labels, strict=True)]
    return pd.concat(each, ignore_index=True)[list(COLUMNS)]


def challenge_markdown(table: pd.DataFrame, findings: Findings) -> str:
    """The challenge's figures as a page, with the published results below, which stand in no ranking."""
    cells = []
    keys = ["recordings of", "recordings", "model"]
    for (part, count, model), group in table.groupby(keys, sort=False):
        row = {"model": str(model), "recordings of": f"{part} ({count})"}
        for target, values in group.groupby("target", sort=False):
            row[str(target)] = _spread(values["CCC"])
            row[f"{target}, AVEC"] = _spread(values["CCC by AVEC's moments"])
        cells.append(row)
    known = published.to_markdown(published.beside(leaderboard(findings.runs)))
    return "\n".join(
        [
            "# Semantic fusion: the challenge's own scores",
            "",
            table_markdown(Table("", cells)),
            "",
            MOMENTS,
            "",
            "## Published results",
            "",
            known or "None are known for this corpus and task.",
            "",
        ]
    )


def write_all(findings: Findings, folder: Path, corpus: Corpus) -> list[Path]:
    """Write the claims, the study (`writing.write`) and, for traces, the challenge's scores; returns the paths.

    semantic-claims_DATASET.csv and .md; semantic_DATASET and its parts; semantic-challenge_DATASET.csv and .md.
    """
    name = corpus.name
    frame, page = claims(findings, name), folder / f"semantic-claims_{name}.md"
    paths = [write_csv(page.with_suffix(".csv"), frame), page, *write(findings, folder, name)]
    write_text(page, to_markdown(frame, TITLE, findings.study.notes))
    if findings.runs[0].task.kind == "continuous":
        table, page = challenge_table(findings, corpus), folder / f"semantic-challenge_{name}.md"
        paths += [write_csv(page.with_suffix(".csv"), table), page]
        write_text(page, challenge_markdown(table, findings))
    return paths


def _checked(files: WordFiles, vectors: Mapping[str, str]) -> WordFiles:
    """Files that are there and go together."""
    for option, file in asdict(files).items():
        if file and not Path(file).expanduser().exists():
            raise SerbenchError(f"--{option} {file}: there is no such file. Expected one of 'serbench words'.")
    if any(asdict(files).values()) and not vectors:
        raise SerbenchError("sources of words were named without word vectors. Type --vectors NAME=FILE too.")
    if files.map and not files.encoder:
        raise SerbenchError("--map was given without --encoder, whose vectors it would map. Name both, or none.")
    return files


def _with_words(vectors: Mapping[str, str], files: WordFiles) -> Iterator[Row]:
    """Both streams by three fusions, each stream alone, other sources of words, other kinds of word vectors."""
    first, *others = vectors
    system = {"model.fusion": "disentangled", "model.streams": "both", "model.vectors": vectors[first]}
    if any(asdict(files).values()):
        system |= {"model.word_times": files.words, "model.encoder": "", "model.map": ""}
    yield Row(f"disentangled, {first}", MODEL, system)
    for fusion in FUSIONS:
        yield Row(f"{fusion}, {first}", MODEL, {**system, "model.fusion": fusion})
    for other in others:
        yield Row(f"disentangled, {other}", MODEL, {**system, "model.vectors": vectors[other]})
    if files.recognised:
        yield Row(RECOGNISED, MODEL, {**system, "model.word_times": files.recognised})
    if files.encoder:
        heard = {"model.vectors": "", "model.encoder": files.encoder, "model.map": files.map}
        yield Row(SPOKEN, MODEL, {**system, **heard, "model.word_times": files.recognised or files.words})
    yield Row(NO_WORDS, MODEL, {**system, "model.streams": "audio", "model.vectors": "", **_no_times(system)})
    for name, file in vectors.items():
        yield Row(f"words alone, {name}", MODEL, {**system, "model.streams": "words", "model.vectors": file})


def _no_times(system: Mapping[str, str]) -> dict[str, str]:
    """Word times are of no use to a row without words."""
    return {"model.word_times": ""} if "model.word_times" in system else {}


def _without_words() -> Iterator[Row]:
    """Three parallel layers with attention between them against one layer."""
    for fusion in ("disentangled", "concat"):
        settings = {"model.fusion": fusion, "model.streams": "audio", "model.vectors": ""}
        yield Row(f"{NO_WORDS}, {fusion}", MODEL, settings)


def _what_is_added(system: Row, row: Row) -> str | None:
    """What the system has that a row lacks, where they differ in one part."""
    if row.model != MODEL:
        return None
    keys = [key for key in system.settings if system.settings[key] != row.settings[key]]
    if "model.streams" in keys and row.settings["model.streams"] == "audio":
        return "words beside the sound"
    if row.label in (RECOGNISED, SPOKEN):
        return f"the transcript's words instead of {row.label}"
    if len(keys) != 1:
        return None
    if keys == ["model.streams"]:
        return "sound beside the words"
    if keys == ["model.fusion"]:
        return f"{system.settings['model.fusion']} fusion instead of {row.settings['model.fusion']}"
    mine, other = (each.label.partition(", ")[2] for each in (system, row))
    return f"{mine} vectors instead of {other}"


def _challenge_rows(run: Run, part: str, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for trial, own in rows.groupby("trial", sort=True):
        facts = {"trial": trial, "recordings of": part, "recordings": own["id"].nunique(), "frames": len(own)}
        scores = []
        for target in run.task.targets:
            gold, predicted = (own[f"{side}_{target}"].to_numpy(dtype=np.float64) for side in ("gold", "pred"))
            scores.append((target, ccc(gold, predicted), ccc_avec(gold, predicted)))
        if len(scores) > 1:
            _, standard, avec = zip(*scores, strict=True)
            scores.insert(0, (MEAN, float(np.mean(standard)), float(np.mean(avec))))
        for target, *values in scores:
            yield {**facts, "target": target, **dict(zip(COLUMNS[-2:], values, strict=True))}


def _spread(values: pd.Series[float]) -> str:
    text = number(float(values.mean(skipna=False)))
    return f"{text} ± {number(float(values.std()))}" if len(values) > 1 else text
