// Start reading here. Space in the payload is the photo camera's: x right, y down, z away, metres.
import {
    AppBase, AppOptions, CameraComponentSystem, Color, Entity, FILLMODE_FILL_WINDOW, GSPLATDATA_LARGE,
    GSplatComponentSystem, RESOLUTION_AUTO, WebglGraphicsDevice, WORKBUFFER_UPDATE_ONCE
} from 'playcanvas';

import { makeContainer, makePose } from './avatar.js';
import { Motion } from './motion.js';
import { Orbit } from './orbit.js';
import { bytesOf, unpack } from './payload.js';
import { Player } from './player.js';

const DEGREES = 180 / Math.PI;

function makeApp(canvas) {
    const device = new WebglGraphicsDevice(canvas, { alpha: true, antialias: false });
    device.maxPixelRatio = Math.min(window.devicePixelRatio, 2);
    const app = new AppBase(canvas);
    const options = new AppOptions();
    options.graphicsDevice = device;
    options.componentSystems = [CameraComponentSystem, GSplatComponentSystem];
    app.init(options);
    app.setCanvasFillMode(FILLMODE_FILL_WINDOW);
    app.setCanvasResolution(RESOLUTION_AUTO);
    app.scene.gsplat.dataFormat = GSPLATDATA_LARGE;
    app.scene.gsplat.minPixelSize = 0; // skin is made of Gaussians of a pixel's size
    app.autoRender = false; // a page that shows a still picture costs nothing
    app.systems.gsplat.on('frame:request', () => { app.renderNextFrame = true; });
    return app;
}

function makeCamera(app, { width, height, focal }) {
    const entity = new Entity('camera');
    entity.addComponent('camera', { clearColor: new Color(0, 0, 0, 0), nearClip: 0.02, farClip: 50 });
    app.root.addChild(entity);
    const fit = () => {
        app.resizeCanvas();
        const wide = app.graphicsDevice.width * height > app.graphicsDevice.height * width;
        entity.camera.horizontalFov = !wide; // the whole photo is seen, whatever the window's shape
        entity.camera.fov = 2 * Math.atan((wide ? height : width) / 2 / focal) * DEGREES;
        app.renderNextFrame = true;
    };
    window.addEventListener('resize', fit);
    fit();
    return entity;
}

async function main() {
    const canvas = document.getElementById('canvas');
    const { facts, arrays } = await unpack(bytesOf('avatar'));
    const app = makeApp(canvas);
    const motion = new Motion(facts, arrays);
    const player = new Player(bytesOf('sound'), facts);
    const pose = makePose(app.graphicsDevice, facts.kinds + facts.particles);
    const avatar = new Entity('avatar');
    avatar.addComponent('gsplat', { resource: makeContainer(app.graphicsDevice, facts, arrays) });
    avatar.gsplat.setParameter('pose', pose);
    for (const name of ['unit', 'one']) avatar.gsplat.setParameter(name, facts[name]);
    avatar.setLocalEulerAngles(180, 0, 0); // y up and z towards the viewer, as WebGL has it
    app.root.addChild(avatar);
    const [x, y, z] = facts.pivot;
    const camera = makeCamera(app, facts.camera);
    const orbit = new Orbit(canvas, camera, [x, -y, -z], () => { app.renderNextFrame = true; });

    const state = document.documentElement.dataset; // for tests, and for pages that embed this one
    app.on('update', () => {
        const frame = player.frame;
        if (String(frame) === state.frame) return;
        pose.lock().set(motion.at(frame));
        pose.unlock();
        avatar.gsplat.workBufferUpdate = WORKBUFFER_UPDATE_ONCE;
        app.renderNextFrame = true;
        state.frame = frame;
    });
    app.on('frameend', () => { Object.assign(state, { side: orbit.side, up: orbit.up, zoom: orbit.zoom }); });
    app.start();
    state.ready = 'yes';
}

main().catch(error => {
    document.getElementById('fault').textContent = `This browser cannot show the avatar: ${error.message}`;
    console.error(error);
});
