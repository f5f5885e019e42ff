"""Other speakers, rooms, microphones and lines for speech that was synthesised dry.

Nothing here moves a sound in time, except `resampled`, which scales time by a known factor: labels stay true.
All functions take and give mono float32 at 16 kHz.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from scipy import signal

from vivavoce.features.phones import Phone
from vivavoce.types import SPEECH_RATE

Sound = Float32[np.ndarray, " n"]

_FFT, _HOP = 512, 80
_LIFTER = 26  # cepstral coefficients that are the vocal tract; the rest is the excitation


def resampled(
    samples: Sound, phones: list[Phone], ratio: float
) -> tuple[Float32[np.ndarray, " m"], list[Phone]]:
    """A bigger (ratio < 1) or smaller speaker: pitch, formants, tempo and labels all scaled by `ratio`."""
    import soxr

    shorter = soxr.resample(samples, SPEECH_RATE * ratio, SPEECH_RATE).astype(np.float32)
    return shorter, [Phone(p.label, p.start / ratio, p.end / ratio) for p in phones]


def respoken(samples: Sound, rng: np.random.Generator, *, tract: float, breath: float) -> Sound:
    """The same words from another vocal tract and larynx: source and filter parted and joined anew.

    Formants move by the factor `tract` while the pitch stays; `breath` of the excitation, 0 to 1, is
    replaced with noise (1 whispers). The envelope is the low-quefrency cepstrum of each 25 ms window; what
    it smooths away of a sharp formant stays where it was.
    """
    _, _, spectrum = signal.stft(samples, nperseg=400, noverlap=400 - _HOP, nfft=_FFT, window="hann")
    level = np.log(np.abs(spectrum) + 1e-5)
    cepstrum = np.fft.irfft(level, axis=0)
    cepstrum[_LIFTER : _FFT - _LIFTER + 1] = 0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    source = np.arange(len(envelope)) / tract
    low = np.minimum(source.astype(int), len(envelope) - 2)
    part = np.minimum(source - low, 1.0)[:, None]
    warped = envelope[low] * (1 - part) + envelope[low + 1] * part
    excitation = spectrum / np.exp(envelope)
    if breath > 0:
        noise = rng.normal(size=excitation.shape) + 1j * rng.normal(size=excitation.shape)
        excitation = np.sqrt(1 - breath) * excitation + np.sqrt(0.5 * breath) * noise
    _, out = signal.istft(
        excitation * np.exp(warped), nperseg=400, noverlap=400 - _HOP, nfft=_FFT, window="hann"
    )
    return _fit(out, len(samples))


def equalized(samples: Sound, rng: np.random.Generator, strength: float) -> Sound:
    """A microphone's colour: a smooth random response, `strength` dB standard deviation, of zero phase."""
    knots = rng.normal(0, strength, 8)
    gain = np.interp(np.linspace(0, 7, 129), np.arange(8), knots)
    taps = signal.firwin2(257, np.linspace(0, 1, 129), 10 ** (gain / 20))
    return signal.fftconvolve(samples, taps, "same").astype(np.float32)


def in_room(samples: Sound, rng: np.random.Generator, *, decay: float, direct_db: float) -> Sound:
    """In a room that rings for `decay` seconds (RT60); the direct sound, `direct_db` over the rest, is not late.

    The tail is noise under an exponential (Polack 1988), after an initial gap of 2-12 ms.
    """
    n = int(decay * SPEECH_RATE)
    tail = rng.normal(size=n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: int(rng.uniform(0.002, 0.012) * SPEECH_RATE)] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1
    return signal.fftconvolve(samples, tail)[: len(samples)].astype(np.float32)


def with_noise(samples: Sound, rng: np.random.Generator, snr_db: float) -> Sound:
    """With noise of a random colour (0 to -9 dB per octave) `snr_db` below, sometimes with humming mains."""
    spectrum = np.fft.rfft(rng.normal(size=len(samples)))
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / SPEECH_RATE), 40)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1.5), len(samples))
    noise /= noise.std() + 1e-9
    if rng.random() < 0.2:
        phase = 2 * np.pi * rng.choice((50, 60)) * np.arange(len(samples)) / SPEECH_RATE
        noise += sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 6))
    return (samples + noise * samples.std() * 10 ** (-snr_db / 20)).astype(np.float32)


def band_limited(samples: Sound, low: float, high: float) -> Sound:
    """Only `low` to `high` Hz, without phase shift: an old telephone, a cheap recorder."""
    sections = signal.butter(4, (low, min(high, 7900)), "band", fs=SPEECH_RATE, output="sos")
    return signal.sosfiltfilt(sections, samples).astype(np.float32)


def mu_law(samples: Sound, bits: int = 8) -> Sound:
    """Companded and quantised as on a digital telephone line (ITU-T G.711 has 8 bits)."""
    peak, mu = np.abs(samples).max() + 1e-9, 2**bits - 1
    code = np.sign(samples) * np.log1p(mu * np.abs(samples) / peak) / np.log1p(mu)
    code = np.round(code * (mu // 2)) / (mu // 2)
    return (np.sign(code) * np.expm1(np.abs(code) * np.log1p(mu)) / mu * peak).astype(np.float32)


def sparse_coded(samples: Sound, keep: float) -> Sound:
    """What a low-rate transform codec leaves: the strongest `keep` share of every frame's spectrum."""
    _, _, spectrum = signal.stft(samples, nperseg=_FFT)
    weight = np.abs(spectrum) * np.linspace(0.5, 2, len(spectrum))[:, None]
    threshold = np.quantile(weight, 1 - keep, axis=0)
    _, out = signal.istft(np.where(weight >= threshold, spectrum, 0), nperseg=_FFT)
    return _fit(out, len(samples))


def clipped(samples: Sound, share: float) -> Sound:
    """Overdriven so that `share` of the samples hit the limit."""
    limit = np.quantile(np.abs(samples), 1 - share) + 1e-6
    return np.clip(samples, -limit, limit).astype(np.float32)


def _fit(samples: np.ndarray, length: int) -> Float32[np.ndarray, " m"]:
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)


def random_recording(samples: Sound, rng: np.random.Generator) -> Sound:
    """One random microphone, room and line; some stay nearly dry, as clean studio sound is common input."""
    if rng.random() < 0.7:
        samples = equalized(samples, rng, rng.uniform(1, 6))
    if rng.random() < 0.5:
        samples = in_room(samples, rng, decay=rng.uniform(0.1, 0.7), direct_db=rng.uniform(0, 15))
    if rng.random() < 0.06:
        samples = clipped(samples, rng.uniform(0.002, 0.03))
    if rng.random() < 0.6:
        samples = with_noise(samples, rng, rng.uniform(5, 45))
    line = rng.random()
    if line < 0.08:
        samples = mu_law(band_limited(samples, 300.0, 3400.0))
    elif line < 0.16:
        samples = band_limited(samples, rng.uniform(20, 150), rng.uniform(3500, 7500))
    elif line < 0.28:
        samples = sparse_coded(samples, rng.uniform(0.15, 0.6))
    return (samples * 10 ** (rng.uniform(-12, -1) / 20) / (np.abs(samples).max() + 1e-6)).astype(np.float32)
