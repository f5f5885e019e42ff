// A camera that swings about the head: drag, pinch or scroll, and a double click to go back.
import { Quat, Vec3 } from 'playcanvas';

const SIDE = 40, UP = 20; // degrees; an avatar made of one photo has no back
const NEAR = 0.35, FAR = 2.5;
const SPEED = 0.25; // degrees a pixel

export class Orbit {
    constructor(element, camera, pivot, changed) {
        Object.assign(this, { element, camera, changed, pivot: new Vec3(...pivot) });
        this.pointers = new Map();
        this.reset();
        element.addEventListener('pointerdown', event => {
            element.setPointerCapture(event.pointerId);
            this.pointers.set(event.pointerId, event);
        });
        element.addEventListener('pointermove', event => this.#drag(event));
        for (const end of ['pointerup', 'pointercancel']) {
            element.addEventListener(end, event => this.pointers.delete(event.pointerId));
        }
        element.addEventListener('wheel', event => {
            event.preventDefault();
            this.#move(0, 0, Math.exp(0.001 * event.deltaY));
        }, { passive: false });
        element.addEventListener('dblclick', () => this.reset());
    }

    /** Back to where the photo was taken from. */
    reset() {
        Object.assign(this, { side: 0, up: 0, zoom: 1 });
        this.#place();
    }

    #drag(event) {
        const before = this.pointers.get(event.pointerId);
        if (!before) return;
        const apart = this.#apart();
        this.pointers.set(event.pointerId, event);
        const share = SPEED / this.pointers.size;
        const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
        this.#move(-share * dx, -share * dy, apart ? apart / this.#apart() : 1);
    }

    #apart() {
        const [a, b] = this.pointers.values();
        return b ? Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)) : 0;
    }

    #move(side, up, zoom) {
        const within = (value, low, high) => Math.min(Math.max(value, low), high);
        this.side = within(this.side + side, -SIDE, SIDE);
        this.up = within(this.up + up, -UP, UP);
        this.zoom = within(this.zoom * zoom, NEAR, FAR);
        this.#place();
    }

    #place() {
        const turn = new Quat().setFromEulerAngles(this.up, this.side, 0);
        const back = turn.transformVector(this.pivot.clone().mulScalar(-1));
        this.camera.setPosition(back.mulScalar(this.zoom).add(this.pivot));
        this.camera.setRotation(turn);
        this.changed();
    }
}
