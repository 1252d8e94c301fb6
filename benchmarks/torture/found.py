"""What the torture has found: the thing as a user would have met it, its cause, and how it was mended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One row of the page's last section."""

    found: str
    cause: str
    mend: str


FOUND = (
    Finding(
        "a process that was killed while it wrote left a temporary file for ever",
        "temporary names were random, so no later process knew whose they were",
        "the name follows from the file's own and is locked while it is written; the next writer takes it over "
        "(`datasets/core/files.py`)",
    ),
    Finding(
        "a full disk ended in a traceback, or was recorded as the failure of every trial",
        "errors of the operating system went through unsaid, or were taken for the trial's own",
        "`StorageError` says what to do, ends the work, and is never recorded as a trial's failure",
    ),
    Finding(
        "a flipped bit in a state, in trained weights or in a record was read as if nothing were",
        "only predictions and the cache had checksums",
        "states, weights, maps of spaces and records carry a checksum; a state that is damaged is not gone on from",
    ),
    Finding(
        "two processes at the same training could mix their states in one file",
        "both wrote to the same temporary name",
        "the lock of `replacing` gives the second one another name",
    ),
    Finding(
        "of two processes at the same run, the one that looked while the other wrote a unit or items anew took that "
        "for damage; the one that ended first deleted the state of the other",
        "a record is deleted before it is written anew, and states were deleted whoever wrote them",
        "a record that is gone counts as unfinished; a state that is being written is left alone (`discard`)",
    ),
    Finding(
        "SIGTERM and SIGHUP ended a run without a word, with bars on the terminal and workers that went on",
        "only Ctrl-C was heeded",
        "`benchmarks/core/ending.py`: both end as Ctrl-C does, with status 143 and 129; `--stop-after` with 75",
    ),
    Finding(
        "escape codes in labels, speakers and names of files reached the terminal, the report and its figures",
        "texts of label files and messages were passed on as they came",
        "control characters of label files become their escapes where they are read (`harmless`), those of messages "
        "and of standard output where they are printed (`benchmarks/core/progress.py`)",
    ),
    Finding(
        "a speaker called `=1+1` was a formula in CSV files of results",
        "CSV has no types, and spreadsheets compute what looks like a formula",
        "an apostrophe stands before such a text (`write_csv`)",
    ),
    Finding(
        "a zip file of two megabytes made `serbench merge` unpack gigabytes",
        "nothing compared what a zip file claims with what it is",
        "what unpacks to more than 50 times its size and 64 MiB is refused",
    ),
    Finding(
        "a row of nEMO's `data.tsv` that breaks off ended in a traceback",
        "a comparison with a missing cell is neither true nor false",
        "such a row is named and refused (`datasets/nemo.py`)",
    ),
    Finding(
        "a damaged page of a parquet file with sound ended in a traceback, or in the advice to set SERBENCH_CACHE",
        "pyarrow raises many kinds of errors, at any page; only those of the schema were turned into words",
        "every reading goes through `opened`, which names the file and what to do (`datasets/hf/files.py`)",
    ),
    Finding(
        "a link from a corpus to `/dev/zero` filled the memory, one to a pipe waited for ever",
        "files were read whole to be told by their content, whatever they were",
        "devices and pipes are listed as what they are, and not read (`signature` in `features/core/audio.py`)",
    ),
    Finding(
        "features were read from a cache that any user of the machine may write to",
        "checksums find what disks do, not what is put there on purpose",
        "such a cache is refused, with the line to type (`features/cache/cache.py`)",
    ),
    Finding(
        "damaged normalisation constants (`.mat`) of a released network crashed the process, or ended in a traceback",
        "scipy's reader trusts the lengths in the file",
        "the few numbers are read with every length checked (`sermodels/deepemocluster/matlab.py`)",
    ),
    Finding(
        "a flipped bit in an mp3 of two kilobytes asked for 15 GiB of memory",
        "memory was taken for as many samples as the header claims",
        "a header that claims more than any coding holds is refused first (`features/core/audio.py`)",
    ),
    Finding(
        "a label file whose rows have more cells than its header was read shifted, or ended in a traceback",
        "pandas then takes the first cells for the names of the rows",
        "such a file is refused (`read_columns` in `datasets/reading/label_files.py`)",
    ),
    Finding(
        "a flipped bit in the memory of digests gave a recording or a checkpoint another identity, in silence",
        "the memory was plain JSON, as was the index of unpacked sound, where a bit changed an id",
        "both end in a checksum, and are made again where it is wrong (`sealed` in `datasets/core/files.py`)",
    ),
    Finding(
        "a flipped bit in a kept impulse response was heard in every recording that reverberates",
        "the file in the cache had no checksum",
        "it ends in one, and is made again where it is wrong (`features/perturbations/rooms.py`)",
    ),
    Finding(
        "a flipped bit in a released checkpoint (.pth.tar) was read as if nothing were",
        "torch does not compare the checksums of the zip file that a checkpoint is",
        "they are compared first, and a part that is compressed, as in a bomb, is refused "
        "(`sermodels/deepemocluster/importer.py`)",
    ),
    Finding(
        "a file called `=1+1.wav` was a formula in the CSV files of `serbench predict` and `serbench check`",
        "the two wrote their tables past `write_csv`",
        "every CSV file of texts goes through `csv_text` (`results/record/storage.py`)",
    ),
    Finding(
        "of two processes at the same training, the one that ended first could delete the state that the other wrote",
        "the library of safetensors puts a new file in the place of the one that is locked, so nobody saw that it was "
        "being written",
        "the state is written through the file that is locked (`save_state` in `features/core/course.py`)",
    ),
    Finding(
        "of two turns of SEWA whose lines had run together one was lost in silence, the other had no end",
        "Python reads `inf`, `nan` and `1e999` as numbers, and further cells of a line were passed over",
        "times beyond a day and lines with other numbers of cells than the first are refused "
        "(`datasets/sewa/files.py`)",
    ),
)
