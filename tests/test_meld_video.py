"""MELD's video clips: decoding and down-mixing, against tones of known weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.meld import video
from serbench.datasets.mocks import meld


def _tones(count: int, samples: int = 4800) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One sine per channel, all at different frequencies, so that weights can be read off a spectrum."""
    time = np.arange(samples) / 48000
    return np.stack([0.2 * np.sin(2 * np.pi * 500 * (i + 1) * time) for i in range(count)]).astype(np.float32)


def _weights(signal: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Amplitude of each channel's tone relative to what was written: 4800 samples hold whole periods of 500 Hz."""
    spectrum = np.abs(np.fft.rfft(signal[:4800])) / 2400 / 0.2
    return spectrum[[50 * (i + 1) for i in range(count)]]


@pytest.mark.parametrize(
    ("layout", "downmix", "expected"),
    [
        # libswresample to mono: centre 1, front 3 dB lower, back another 3 dB, all over the sum of the weights
        ("5.1", "ffmpeg", np.array([2**-0.5, 2**-0.5, 1, 0, 0.5, 0.5]) / (2 + 2**0.5)),
        ("stereo", "ffmpeg", np.array([0.5, 0.5])),
        ("5.1", "mean", np.full(6, 1 / 6)),
        ("stereo", "mean", np.full(2, 1 / 2)),
        ("5.1", "centre", np.array([0, 0, 1, 0, 0, 0])),
        ("stereo", "centre", np.array([1, 0])),
    ],
)
def test_downmix_rules_weigh_channels_as_stated(tmp_path: Path, layout: str, downmix: str, expected: Any) -> None:
    pytest.importorskip("av")
    clip = tmp_path / "clip.mov"
    _lossless(clip, _tones(len(expected)), layout)
    signal, rate = video.decode(clip, downmix)
    assert rate == 48000
    assert signal.shape == (4800,)
    np.testing.assert_allclose(_weights(signal, len(expected)), expected, atol=2e-4)  # 16-bit steps


def _lossless(path: Path, channels: np.ndarray[Any, np.dtype[np.float32]], layout: str) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout=layout)
        packed = np.ascontiguousarray(np.rint(channels * 32767).astype(np.int16).T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_aac_clip_in_six_channels_keeps_the_centre(tmp_path: Path) -> None:
    pytest.importorskip("av")
    tones = _tones(6, 24000)
    meld.write_mp4(tmp_path / "clip.mp4", tones, 48000, "5.1")
    signal, rate = video.decode(tmp_path / "clip.mp4", "centre")
    assert rate == 48000
    assert abs(len(signal) - 24000) <= 2048  # AAC frames
    assert _weights(signal[9600:], 6)[2] == pytest.approx(1.0, abs=0.05)  # lossy coding
    assert _weights(signal[9600:], 6)[[0, 1, 4, 5]].max() < 0.02


def test_clips_are_extracted_once_and_anew_when_they_change(tmp_path: Path) -> None:
    pytest.importorskip("av")
    import soundfile

    clip = tmp_path / "clips/dia0_utt0.mp4"
    meld.write_mp4(clip, _tones(2), 48000, "stereo")
    audio = video.ClipAudio("mean", tmp_path / "audio")
    first = audio(clip)
    assert first.parent == tmp_path / "audio/mean/clips"
    stamp = first.stat().st_mtime_ns
    assert audio(clip) == first
    assert first.stat().st_mtime_ns == stamp
    stored, rate = soundfile.read(first, dtype="float32")
    expected, _ = video.decode(clip, "mean")
    assert rate == 48000
    np.testing.assert_allclose(stored, expected, atol=1.01 / 65536)
    meld.write_mp4(clip, _tones(2, 9600), 48000, "stereo")
    assert audio(clip) != first
    assert video.ClipAudio("centre", tmp_path / "audio")(clip).parent.parent.name == "centre"


def test_clip_without_sound(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SerbenchError, match="no sound track"):
        video.decode(tmp_path / "mute.mp4")
