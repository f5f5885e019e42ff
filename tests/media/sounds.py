"""Sound files of every kind, made for the tests."""

import wave

import av
import numpy as np


def speechlike(seconds, rate, seed=0):
    """Noise in bursts, smoothed to the band of speech: its cross-correlation has one sharp peak."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    noise = np.convolve(rng.standard_normal(n + 8), np.hanning(max(3, rate // 8000 + 2)), "same")[:n]
    bursts = 0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * np.arange(n) / rate)
    return (0.3 * noise / np.abs(noise).std() * bursts).clip(-0.99, 0.99)


def write_wav(path, samples, rate):
    """16-bit PCM; samples (n,) or (n, channels) in [-1, 1]."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path


def write_sound(path, samples, rate, codec, *, layout=None, video=False, bit_rate=None, options=None):
    """Any codec in any container; samples (n,) or (n, channels); `video` puts a picture track before it."""
    samples = samples.reshape(len(samples), -1).astype(np.float32)
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
    with av.open(str(path), "w") as container:
        picture = (
            container.add_stream("libx264" if path.suffix != ".webm" else "libvpx", rate=25)
            if video
            else None
        )
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout, options=options or {})
        if bit_rate:
            sound.bit_rate = bit_rate
        if picture is not None:
            grey = np.full((64, 64, 3), 128, np.uint8)
            for _ in range(int(len(samples) / rate * 25)):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(picture.encode())
        for start in range(0, len(samples), 4096):
            block = np.ascontiguousarray(samples[start : start + 4096].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def decode(path):
    """Samples (n, channels) and rate as FFmpeg plays them, with the time of the first sample in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        resampler = av.AudioResampler(format="fltp")
        parts = [out.to_ndarray() for frame in frames for out in resampler.resample(frame)]
        parts += [out.to_ndarray() for out in resampler.resample(None)]
        return np.concatenate(parts, 1).T, stream.rate, float(frames[0].pts * frames[0].time_base)


def lag(a, b, rate, most=0.2):
    """Seconds by which b comes after a, by the peak of their cross-correlation with a parabola through it."""
    n = 1 << int(np.ceil(np.log2(len(a) + len(b))))
    cross = np.fft.irfft(np.conj(np.fft.rfft(a, n)) * np.fft.rfft(b, n), n)
    reach = int(most * rate)
    near = np.concatenate([cross[-reach:], cross[: reach + 1]])
    i = int(near.argmax())
    below, peak, above = near[i - 1 : i + 2]
    return (i - reach + 0.5 * (below - above) / (below - 2 * peak + above)) / rate
