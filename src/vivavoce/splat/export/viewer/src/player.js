// Play, pause and seek; the sound is the clock.

const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

export class Player {
    constructor(sound, { frames, fps }) {
        const found = id => document.getElementById(id);
        Object.assign(this, { frames, fps, duration: frames / fps });
        this.audio = found('audio');
        this.audio.src = URL.createObjectURL(new Blob([sound], { type: 'audio/mp4' }));
        this.button = found('play');
        this.bar = found('seek');
        this.bar.max = this.duration;
        this.told = found('time');
        this.button.addEventListener('click', () => this.toggle());
        this.bar.addEventListener('input', () => { this.audio.currentTime = Number(this.bar.value); });
        for (const event of ['play', 'pause', 'ended']) this.audio.addEventListener(event, () => this.#tell());
        document.addEventListener('keydown', event => this.#key(event));
        this.#tell();
    }

    toggle() {
        if (this.audio.paused) this.audio.play(); else this.audio.pause();
    }

    /** The frame to show now. */
    get frame() {
        const seconds = this.audio.currentTime;
        this.bar.value = seconds;
        this.told.textContent = `${clock(seconds)} / ${clock(this.duration)}`;
        return Math.min(Math.floor(seconds * this.fps + 1e-6), this.frames - 1);
    }

    #tell() {
        this.button.textContent = this.audio.paused ? '▶' : '❚❚';
        this.button.setAttribute('aria-label', this.audio.paused ? 'Play' : 'Pause');
    }

    #key(event) {
        if (event.target.tagName === 'BUTTON' || event.ctrlKey || event.altKey || event.metaKey) return;
        const jump = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (event.key === ' ') this.toggle();
        else if (jump) this.audio.currentTime = Math.min(Math.max(this.audio.currentTime + jump, 0), this.duration);
        else return;
        event.preventDefault();
    }
}
