"""The cache: format, damage, parallel and killed writers, addresses, info, verify and prune."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from serbench.datasets.core.config import option
from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache import section as section_module
from serbench.features.cache.cache import FeatureCache, cache_info, cache_prune, cache_verify
from serbench.features.cache.pack import Entry, append, entry_key, load, new_pack, scan
from serbench.features.cache.section import CacheError, Section
from serbench.features.core.feature_extractor import FeatureExtractor

DIM = 6


def array(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, DIM)).astype(np.float32)


def key(number: int) -> bytes:
    return entry_key(f"{number:064d}")


def filled(folder: Path, count: int = 5) -> Section:
    """A section with arrays of 10, 11, 12 ... frames under the keys 0, 1, 2 ..."""
    section = Section(folder, DIM)
    for i in range(count):
        section.write(key(i), array(10 + i, i))
    return section


def only_pack(folder: Path) -> Path:
    (path,) = folder.glob("*.pack")
    return path


@dataclass(frozen=True)
class Config:
    gain: float = option(1.0, "factor")
    offset: float = option(0.0, "summand")


class Toy(FeatureExtractor):
    """Settings times nothing; only its identity matters here."""

    name = "toy"
    version = 1
    sampling_rate = 16000
    dim = DIM
    hop_seconds = None
    revision = "a"

    def extract(self, signal: np.ndarray) -> np.ndarray:
        return np.full((1, DIM), self.config.gain, np.float32)

    def extra_identity(self) -> Mapping[str, str]:
        return {"revision": self.revision}


def test_round_trip_is_bit_identical(tmp_path: Path) -> None:
    section = Section(tmp_path, DIM)
    odd = np.array([[0.0, -0.0, 1e-45, -3.4e38, np.pi, 1.0]], np.float32)
    for i, given in enumerate([odd, array(1), array(5000), array(7)[::2], np.asfortranarray(array(9))]):
        section.write(key(i), given)
        for reader in (section, Section(tmp_path, DIM), pickle.loads(pickle.dumps(section))):
            assert reader.frames(key(i)) == len(given)
            got = reader.read(key(i))
            assert got.dtype == np.float32
            assert got.tobytes() == np.ascontiguousarray(given).tobytes()
    assert section.read(key(99)) is None
    assert section.frames(key(99)) is None


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    given = array(3)
    Section(tmp_path, DIM).write(key(4), given)
    data = only_pack(tmp_path).read_bytes()
    assert data[:8] == b"\x93SERPK1\n"
    assert data[8:28] == key(4)
    assert struct.unpack("<QI", data[28:40]) == (3, DIM)
    assert struct.unpack("<II", data[40:48]) == (zlib.crc32(data[64:]), zlib.crc32(data[:44]))
    assert data[48:64] == bytes(16)
    assert np.array_equal(np.frombuffer(data[64:], "<f4").reshape(3, DIM), given)


def test_keys_tell_files_and_segments_apart() -> None:
    keys = {
        entry_key(sha, start, end)
        for sha in ("a" * 64, "b" * 64)
        for start, end in [(None, None), (0.0, None), (None, 1.0), (0.0, 1.0), (0.0, 1.0000001)]
    }
    assert len(keys) == 10
    assert {len(k) for k in keys} == {20}


def test_any_flipped_bit_is_found_and_spares_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    filled(folder, 3)
    path = only_pack(folder)
    whole = path.read_bytes()
    truths = [array(10 + i, i) for i in range(3)]
    first, second = 64 + 4 * DIM * 10, 64 + 4 * DIM * 11
    rng = np.random.default_rng(0)
    places = [*range(first, first + 48), *rng.integers(first + 64, first + second, 40)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        section = Section(folder, DIM)
        got = [section.read(key(i)) for i in range(3)]
        assert got[1] is None, f"byte {place}"
        assert np.array_equal(got[0], truths[0])
        assert np.array_equal(got[2], truths[2])
        assert len(cache_verify(tmp_path)["damaged"]) == 1


def test_every_truncation_keeps_the_entries_before_it(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    path = only_pack(tmp_path)
    whole = path.read_bytes()
    stops = [entry.stop for entry in scan(str(path)) if isinstance(entry, Entry)]
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        section = Section(tmp_path, DIM)
        for i, stop in enumerate(stops):
            assert (section.read(key(i)) is not None) == (stop <= size)


def test_a_pack_that_shrinks_under_an_open_index(tmp_path: Path) -> None:
    section = filled(tmp_path, 3)
    path = only_pack(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert section.frames(key(2)) == 12
    assert section.read(key(2)) is None
    assert section.read(key(1)) is not None


def test_what_was_damaged_can_be_written_again(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    path = only_pack(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    section = Section(tmp_path, DIM)
    assert section.read(key(0)) is None
    section.write(key(0), array(10, 0))
    for reader in (section, Section(tmp_path, DIM)):
        assert np.array_equal(reader.read(key(0)), array(10, 0))


def test_an_older_copy_serves_when_the_newer_one_is_damaged(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    older = only_pack(tmp_path)
    filled(tmp_path, 2)
    (newer,) = set(tmp_path.glob("*.pack")) - {older}
    assert newer.name > older.name
    data = bytearray(newer.read_bytes())
    data[80] ^= 1
    newer.write_bytes(data)
    assert np.array_equal(Section(tmp_path, DIM).read(key(0)), array(10, 0))


def test_other_processes_entries_are_seen_after_a_refresh(tmp_path: Path) -> None:
    one, two = Section(tmp_path, DIM), Section(tmp_path, DIM)
    assert one.frames(key(0)) is None
    two.write(key(0), array(10))
    two.write(key(1), array(11))
    one.refresh()
    assert (one.frames(key(0)), one.frames(key(1))) == (10, 11)
    two.write(key(2), array(12))
    assert np.array_equal(one.read(key(2)), array(12))


def test_packs_are_closed_when_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_module, "PACK_BYTES", 1000)
    section = filled(tmp_path, 20)
    assert len(list(tmp_path.glob("*.pack"))) > 5
    again = Section(tmp_path, DIM)
    assert all(np.array_equal(r.read(key(i)), array(10 + i, i)) for i in range(20) for r in (section, again))


def test_a_failed_append_leaves_the_pack_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = new_pack(tmp_path)
    append(path, key(0), array(10))
    size = os.path.getsize(path)
    real = os.writev

    def half(handle: int, parts: list[memoryview]) -> int:
        real(handle, [parts[0]])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", half)
    with pytest.raises(OSError, match="No space left"):
        append(path, key(1), array(11))
    assert os.path.getsize(path) == size
    section = Section(tmp_path, DIM)
    with pytest.raises(CacheError, match=r"No space left.*SERBENCH_CACHE"):
        section.write(key(2), array(1))


def test_interrupted_writes_and_reads_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system may write and read less than was asked for."""
    writev, preadv, write = os.writev, os.preadv, os.write
    monkeypatch.setattr(os, "writev", lambda handle, parts: writev(handle, [parts[0], parts[1][:5]]))
    monkeypatch.setattr(os, "write", lambda handle, part: write(handle, part[:50]))
    path = new_pack(tmp_path)
    entry = append(path, key(0), array(30))
    monkeypatch.setattr(os, "preadv", lambda h, parts, at: preadv(h, [*parts[:-1], parts[-1][:77]], at))
    assert np.array_equal(load(path, entry), array(30))


WRITER = """
import sys, numpy as np
from pathlib import Path
from serbench.features.cache.section import Section
from serbench.features.cache.pack import entry_key
section = Section(Path(sys.argv[1]), 6)
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    frames = 10 + i % 50
    section.write(entry_key(f"{i:064d}"), np.full((frames, 6), i, np.float32))
print("done", flush=True)
"""


def start_writer(folder: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(folder), str(count)], stdout=subprocess.PIPE, text=True
    )


def test_four_writers_at_once_corrupt_nothing(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path / "toy", 400) for _ in range(4)]
    assert [w.wait(timeout=60) for w in writers] == [0] * 4
    section = Section(tmp_path / "toy", DIM)
    for i in range(400):
        assert np.array_equal(section.read(key(i)), np.full((10 + i % 50, DIM), i, np.float32))
    report = cache_verify(tmp_path)
    assert (report["checked"], report["damaged"]) == (1600, [])


def test_a_killed_writer_leaves_a_usable_cache(tmp_path: Path) -> None:
    for _ in range(3):
        writer = start_writer(tmp_path / "toy", 10**9)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.15)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=30) == -signal.SIGKILL
    report = cache_verify(tmp_path)
    assert report["damaged"] == []
    assert report["checked"] > 3
    section = Section(tmp_path / "toy", DIM)
    section.write(b"x" * 20, array(4))
    assert np.array_equal(Section(tmp_path / "toy", DIM).read(b"x" * 20), array(4))
    assert np.array_equal(section.read(key(1)), np.full((11, DIM), 1, np.float32))


def test_a_fork_writes_a_pack_of_its_own(tmp_path: Path) -> None:
    section = filled(tmp_path, 1)
    child = os.fork()
    if child == 0:
        section.write(key(1), array(11, 1))
        os._exit(0)
    os.waitpid(child, 0)
    section.write(key(2), array(12, 2))
    assert len(list(tmp_path.glob("*.pack"))) == 2
    assert all(np.array_equal(section.read(key(i)), array(10 + i, i)) for i in range(3))


def test_every_part_of_the_identity_has_its_own_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)
    plain = cache.section(Toy(Config())).folder
    assert cache.section(Toy(Config())).folder == plain
    seen = {plain, cache.section(Toy(Config(gain=2.0))).folder, cache.section(Toy(Config(offset=1e-9))).folder}
    for name, value in [("version", 2), ("revision", "b"), ("libraries", ("numpy", "scipy")), ("name", "other")]:
        with monkeypatch.context() as patch:
            patch.setattr(Toy, name, value)
            seen.add(cache.section(Toy(Config())).folder)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "99.9")
        seen.add(cache.section(Toy(Config())).folder)
    with monkeypatch.context() as patch:
        patch.setattr("serbench.features.core.audio.VERSION", 2)
        seen.add(cache.section(Toy(Config())).folder)
    assert len(seen) == 9


def test_arrays_of_another_width_are_not_seen(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    other = Section(tmp_path, DIM + 1)
    assert other.frames(key(0)) is None
    assert other.read(key(0)) is None


def test_info_counts(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert cache_info(nothing) == {"folder": str(nothing), "entries": 0, "bytes": 0, "features": []}
    cache = FeatureCache(tmp_path)
    for gain, count in ((1.0, 3), (2.0, 2)):
        section = cache.section(Toy(Config(gain)))
        for i in range(count):
            section.write(key(i), array(10))
    info = cache_info(tmp_path)
    assert (info["entries"], info["bytes"]) == (5, 5 * (64 + 4 * DIM * 10))
    assert sorted((f["feature"], f["entries"], f["packs"]) for f in info["features"]) == [("toy", 2, 1), ("toy", 3, 1)]
    assert {f["identity"]["config"]["gain"] for f in info["features"]} == {1.0, 2.0}
    assert all(0 <= f["newest"] <= f["oldest"] < 0.01 for f in info["features"])


def test_verify_tells_where_and_removes_on_demand(tmp_path: Path) -> None:
    section = FeatureCache(tmp_path).section(Toy(Config()))
    for i in range(4):
        section.write(key(i), array(10))
    path = only_pack(section.folder)
    steps: list[int] = []
    assert cache_verify(tmp_path, progress=steps.append) == {
        "checked": 4,
        "bytes": path.stat().st_size,
        "damaged": [],
        "removed": 0,
    }
    assert steps == [1, 2, 3, 4]
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    report = cache_verify(tmp_path)
    assert report["damaged"] == [f"toy: {path}, byte 0: the checksum is wrong"]
    assert path.exists()
    assert cache_verify(tmp_path, remove=True)["removed"] == 1
    assert not path.exists()
    assert section.read(key(1)) is None


def aged(section: Section, days: float) -> Path:
    path = only_pack(section.folder)
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def three_features(cache: FeatureCache) -> list[Section]:
    """Toys of gain 1, 2, 3, last used 30, 20 and 10 days ago, with 1, 2 and 3 arrays of 10 frames."""
    sections = []
    for gain in (1, 2, 3):
        section = cache.section(Toy(Config(float(gain))))
        for i in range(gain):
            section.write(key(i), array(10))
        aged(section, 40 - 10 * gain)
        sections.append(section)
    return sections


def left(folder: Path) -> list[int]:
    return sorted(int(f["identity"]["config"]["gain"]) for f in cache_info(folder)["features"])


def test_prune_by_age_and_by_size(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    three_features(cache)
    entry = 64 + 4 * DIM * 10
    dry = cache_prune(tmp_path, older_than_days=25, dry_run=True)
    assert left(tmp_path) == [1, 2, 3]
    assert (
        cache_prune(tmp_path, older_than_days=25)
        == dry
        == {"removed": 1, "removed_bytes": entry, "kept": 5, "kept_bytes": 5 * entry}
    )
    assert left(tmp_path) == [2, 3]
    assert cache_prune(tmp_path, max_bytes=5 * entry)["removed"] == 0
    assert cache_prune(tmp_path, max_bytes=5 * entry - 1)["removed"] == 2
    assert left(tmp_path) == [3]
    assert cache_prune(tmp_path, max_bytes=0)["kept"] == 0
    assert list(tmp_path.iterdir()) == []


def test_prune_by_feature(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    three_features(cache)
    other = type("Other", (Toy,), {"name": "opensmile:IS10:lld"})(Config())
    cache.section(other).write(key(0), array(1))
    with pytest.raises(SerbenchError, match=r"unknown cached feature 'tay'. Did you mean 'toy'"):
        cache_prune(tmp_path, feature="tay")
    with pytest.raises(SerbenchError, match="--older-than-days"):
        cache_prune(tmp_path)
    assert cache_prune(tmp_path, feature="opensmile", dry_run=True)["removed"] == 1
    assert cache_prune(tmp_path, feature="toy", older_than_days=15)["removed"] == 3
    assert cache_prune(tmp_path, feature="toy")["removed"] == 3
    assert [f["feature"] for f in cache_info(tmp_path)["features"]] == ["opensmile:IS10:lld"]
    assert cache_prune(tmp_path, feature=cache.section(other).folder.name)["removed"] == 1


def test_use_keeps_a_pack_young(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    used, unused, _ = three_features(cache)
    again = cache.section(Toy(Config(1.0)))
    assert again.frames(key(0)) == 10
    assert cache_prune(tmp_path, older_than_days=15)["removed"] == 2
    assert used.read(key(0)) is not None
    assert unused.read(key(0)) is None


def test_what_is_pruned_under_an_open_index_is_missing_and_can_be_written(tmp_path: Path) -> None:
    section = FeatureCache(tmp_path).section(Toy(Config()))
    for i in range(50):
        section.write(key(i), array(10 + i, i))
    cache_prune(tmp_path, feature="toy")
    assert section.read(key(3)) is None
    assert section.frames(key(4)) is None
    section.write(key(5), array(15, 5))
    assert np.array_equal(Section(section.folder, DIM).read(key(5)), array(15, 5))


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="SERBENCH_CACHE"):
        FeatureCache(tmp_path / "file").section(Toy(Config()))


def test_a_cache_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache" / "features")
    cache.section(Toy(Config())).write(entry_key("a"), np.ones((2, DIM), dtype=np.float32))
    for place in (cache.folder, cache.folder.parent):
        place.chmod(0o777)
        for use in (cache.section, cache.present):
            with pytest.raises(SerbenchError, match=rf"chmod o-w {place}', or set SERBENCH_CACHE"):
                use(Toy(Config()))
        place.chmod(0o775)  # a group's
    cache.folder.parent.chmod(0o1777)  # as /tmp is: nobody can put another folder in the place of this one
    assert cache.present(Toy(Config())) is not None


def test_an_index_of_many_entries_finds_every_one(tmp_path: Path) -> None:
    section = Section(tmp_path, DIM)
    for i in range(5_000):
        section.write(key(i), array(1 + i % 3))
    again = Section(tmp_path, DIM)
    assert [again.frames(key(i)) for i in range(5_000)] == [1 + i % 3 for i in range(5_000)]


def test_a_part_is_checked_as_a_whole_once_and_then_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section, array = Section(tmp_path, 5), np.arange(200, dtype=np.float32).reshape(40, 5)
    section.write(entry_key("a" * 64), array)
    section.write(entry_key("b" * 64), array + 1)
    whole: list[Entry] = []
    real = section_module.load
    monkeypatch.setattr(section_module, "load", lambda path, entry: (whole.append(entry), real(path, entry))[1])
    for first, stop in ((0, 40), (3, 9), (39, 40), (7, 7)):
        np.testing.assert_array_equal(section.read_part(entry_key("b" * 64), first, stop), (array + 1)[first:stop])
    assert len(whole) == 1
    assert section.read_part(entry_key("c" * 64), 0, 1) is None
    pack = next(tmp_path.glob("*.pack"))
    content = bytearray(pack.read_bytes())
    content[64 + 4 * 17] ^= 1
    pack.write_bytes(bytes(content))
    assert Section(tmp_path, 5).read_part(entry_key("a" * 64), 30, 40) is None, "damaged elsewhere in the array"
    pack.unlink()
    assert section.read_part(entry_key("b" * 64), 0, 5) is None
