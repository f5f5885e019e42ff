"""The rig: rigid transforms of every particle, a mouth that shuts and opens, lids, jaw, brows, gaze and body."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vivavoce.splat import topology
from vivavoce.splat.faceframe import measure_face
from vivavoce.splat.lips import OPENING, measure_lips
from vivavoce.splat.rig import BROWS, GLIDE, JAW_DROP, LIDS, LIP_POINTS, Rig, build_rig
from vivavoce.splat.sheet import Sheet, unfold
from vivavoce.splat.skeleton import JOINT, JOINTS, place_joints
from vivavoce.splat.skinning import joint_weights

MOUTH = ("open", "jaw", "wide", "round", "tuck", "press", "tongue_up", "tongue_out", "smile")
TURNS = ("head_yaw", "head_pitch", "head_roll", "torso_yaw", "torso_pitch", "torso_roll", "gaze_x", "gaze_y")


@pytest.fixture(scope="module")
def rig(built) -> Rig:
    return built.rig


def vertices(rig: Rig, controls: np.ndarray) -> np.ndarray:
    """Where the face and rim vertices are, (T, V, 3), canvas pixels."""
    T = rig.transforms(controls)[:, len(JOINTS) : len(JOINTS) + len(rig.vertices)].astype(np.float64)
    return np.einsum("tvab,vb->tva", T[..., :3], rig.vertices) + T[..., 3]


def down(rig: Rig, offsets: np.ndarray) -> np.ndarray:
    return offsets @ rig.frame.axes[1]


def anything(pose, frames: int = 40) -> np.ndarray:
    """Random controls of all kinds."""
    rng = np.random.default_rng(0)
    everything = {name: rng.uniform(0, 1, frames) for name in MOUTH}
    everything |= {name: rng.uniform(-0.35, 0.35, frames) for name in TURNS}
    everything |= {
        name: rng.uniform(0, 1, frames) for name in ("blink", "shoulders", "hand_left", "hand_right")
    }
    return pose(**everything, breath=rng.uniform(-1, 1, frames), brow_raise=rng.uniform(-1, 1, frames))


def test_there_is_a_transform_for_every_particle_and_it_is_rigid(rig, built, pose):
    T = rig.transforms(anything(pose)).astype(np.float64)
    assert T.shape == (40, len(built.particles), 3, 4)
    R = T[..., :3]
    np.testing.assert_allclose(R.swapaxes(-1, -2) @ R, np.broadcast_to(np.eye(3), R.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(R), 1, atol=1e-5)


def test_frames_do_not_depend_on_their_neighbours(rig, pose):
    controls = anything(pose, 6)
    together = rig.transforms(controls)
    alone = np.concatenate([rig.transforms(controls[k : k + 1]) for k in range(6)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_skin_of_the_lips_meets_at_rest_and_opens_as_told(rig, pose):
    """The opening of her smile shuts, by vertices of the face and not only by the lips' own rules."""
    upper, lower = list(topology.LIP_UPPER[0]), list(topology.LIP_LOWER[0])
    opening = np.linspace(0, 1, 11)
    where = rig.frame.local(vertices(rig, pose(open=opening, jaw=opening)))
    x = where[:, upper, 0]
    gap = (
        np.array([np.interp(x[k], where[k, lower, 0], where[k, lower, 1]) for k in range(11)])
        - where[:, upper, 1]
    )
    assert rig.frame.gap > 5  # parted in the photo
    assert gap[0].max() < 0.5
    assert gap[0].min() > -0.04 * rig.lips.width
    assert (np.diff(gap[:, 5]) > 0).all()
    assert gap[-1, 5] == pytest.approx(OPENING * rig.lips.width, rel=0.06)


def test_the_mouth_shuts_the_same_whatever_the_jaw_does(rig, pose):
    jaw = np.array([0.0, 0.5, 1.0])
    where = vertices(rig, pose(jaw=jaw))
    np.testing.assert_allclose(where[:, LIP_POINTS], np.repeat(where[:1, LIP_POINTS], 3, 0), atol=1e-3)


@pytest.mark.parametrize("eye", [0, 1], ids=["right", "left"])
def test_a_blink_shuts_the_eye(rig, pose, eye):
    upper, lower = (list(line) for line in LIDS[eye])
    shut, half, opened = vertices(rig, pose(blink=np.array([1.0, 0.5, 0.0])))
    np.testing.assert_allclose(opened[upper], rig.vertices[upper], atol=1e-4)
    spans = [down(rig, where[lower] - where[upper])[1:-1] for where in (shut, half, opened)]
    assert (np.abs(spans[0]) < 0.15 * spans[2].max()).all()
    assert (spans[1] < spans[2]).all()
    assert (spans[1] > spans[0]).all()
    # The upper lid does most of the way.
    travel = [np.abs(down(rig, shut[line] - opened[line])).max() for line in (upper, lower)]
    assert travel[0] > 4 * travel[1]


def test_the_lowered_jaw_takes_the_incisors_down_and_its_hinge_forward(rig, pose):
    rest, lowered = rig.transforms(pose(jaw=np.array([0.0, 1.0])))[:, JOINT["jaw"]].astype(np.float64)
    turn = lowered[:, :3] @ rest[:, :3].T
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    np.testing.assert_allclose(axis / np.linalg.norm(axis), rig.frame.axes[0], atol=1e-3)

    def way(point: np.ndarray) -> np.ndarray:
        """Of a point of the jaw, in the face's axes and millimetres: right, down, inwards."""
        moved = (lowered[:, :3] - rest[:, :3]) @ point + lowered[:, 3] - rest[:, 3]
        return rig.frame.axes @ moved / rig.frame.millimetre

    np.testing.assert_allclose(way(rig.skeleton["jaw"]), JAW_DROP * GLIDE, atol=0.05)
    assert way(rig.frame.mouth)[1] == pytest.approx(JAW_DROP, rel=0.1)


def test_the_chin_goes_down_with_the_jaw(rig, pose):
    track = np.linspace(0, 1, 6)
    chin = vertices(rig, pose(jaw=track, open=track))[:, topology.CHIN]
    way = down(rig, chin[-1] - chin[0]) / rig.frame.millimetre
    assert way == pytest.approx(JAW_DROP, rel=0.3)
    assert (np.diff(down(rig, chin)) > 0).all()
    alone = vertices(rig, pose(jaw=track))[:, topology.CHIN]
    assert (np.diff(down(rig, alone)) > 0).all()


def test_nose_and_forehead_stay_while_the_mouth_moves(rig, pose):
    rng = np.random.default_rng(1)
    moving = vertices(rig, pose(**{name: rng.random(20) for name in MOUTH}))
    still = [topology.FOREHEAD, 4, 6, 168, 127, 356, 105, 334]
    assert np.abs(moving[:, still] - rig.vertices[still]).max() < 0.006 * rig.frame.height


def test_brows_rise_and_fall_alike(rig, pose):
    raised, lowered = vertices(rig, pose(brow_raise=np.array([1.0, -1.0])))
    for where, sense in ((raised, -1.0), (lowered, 1.0)):
        travel = sense * down(rig, where[list(BROWS)] - rig.vertices[list(BROWS)])
        assert travel.min() > 0.015 * rig.frame.height
        assert travel.max() < 0.05 * rig.frame.height


def test_gaze_turns_the_eyeballs_about_their_centres(rig, pose):
    gaze = 0.2
    right, below = rig.transforms(
        np.concatenate([pose(gaze_x=gaze), pose(gaze_y=gaze)]),
    ).astype(np.float64)
    for eye in ("left_eye", "right_eye"):
        centre = rig.skeleton[eye].astype(np.float64)
        for T in (right, below):
            np.testing.assert_allclose(T[JOINT[eye], :, :3] @ centre + T[JOINT[eye], :, 3], centre, atol=1e-3)
        ahead = np.array([0.0, 0.0, -1.0])
        np.testing.assert_allclose((right[JOINT[eye], :, :3] @ ahead)[:2], [np.sin(gaze), 0], atol=1e-6)
        np.testing.assert_allclose((below[JOINT[eye], :, :3] @ ahead)[:2], [0, np.sin(gaze)], atol=1e-6)


def test_a_still_head_leaves_the_body_alone_while_it_speaks(rig, pose):
    rng = np.random.default_rng(2)
    channels = (*MOUTH, "blink", "brow_raise", "gaze_x", "gaze_y")
    T = rig.transforms(pose(**{name: rng.random(10) for name in channels}))
    still = [JOINT[name] for name in JOINTS if name not in ("jaw", "left_eye", "right_eye")]
    np.testing.assert_allclose(T[:, still], np.broadcast_to(np.eye(3, 4), (10, len(still), 3, 4)), atol=1e-6)


def test_the_face_goes_where_the_head_goes(rig, pose):
    """A turn of the head takes every vertex of the face along as one solid."""
    turned = pose(head_yaw=0.2, head_pitch=0.1, head_roll=-0.1)
    T = rig.transforms(turned)[0].astype(np.float64)
    head = T[JOINT["head"]]
    rest, moved = vertices(rig, pose())[0], vertices(rig, turned)[0]
    expected = rest[:468] @ head[:, :3].T + head[:, 3]
    np.testing.assert_allclose(moved[:468], expected, atol=1e-2)
    neck = rig.skeleton["neck"].astype(np.float64)
    nose = moved[topology.NOSE_TIP] - rest[topology.NOSE_TIP]
    assert nose[0] > 0
    np.testing.assert_allclose(T[JOINT["neck"], :, :3] @ neck + T[JOINT["neck"], :, 3], neck, atol=1e-3)


def test_shoulders_rise_and_the_head_stays(rig, pose):
    T = rig.transforms(pose(shoulders=1.0))[0].astype(np.float64)
    for side in ("left", "right"):
        at = rig.skeleton[f"{side}_shoulder"].astype(np.float64)
        moved = T[JOINT[f"{side}_collar"], :, :3] @ at + T[JOINT[f"{side}_collar"], :, 3] - at
        assert -0.1 * rig.frame.height < moved[1] < -0.02 * rig.frame.height
    np.testing.assert_allclose(T[JOINT["head"]], np.eye(3, 4), atol=1e-6)


def with_arms(rig: Rig) -> Rig:
    """The same rig on a body that shows its bent arms."""
    skeleton, h = rig.skeleton, rig.frame.height
    found = {name: skeleton[name].astype(np.float64) for name in skeleton.seen}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        elbow = found[f"{side}_shoulder"] + np.array([0.2 * sign * h, 1.2 * h, 0])
        found |= {f"{side}_elbow": elbow, f"{side}_wrist": elbow + np.array([-0.8 * sign * h, 0.2 * h, 0])}
        found[f"{side}_index1"] = found[f"{side}_wrist"] + np.array([-0.2 * sign * h, 0, 0])
    return Rig(**{**rig.__dict__, "skeleton": place_joints(found)})


def test_a_beat_lifts_the_hand_about_the_elbow(rig, pose):
    arms = with_arms(rig)
    for side, other in (("left", "right"), ("right", "left")):
        T = arms.transforms(pose(**{f"hand_{side}": np.array([0.5, 1.0])})).astype(np.float64)
        wrist, elbow = (arms.skeleton[f"{side}_{part}"].astype(np.float64) for part in ("wrist", "elbow"))
        forearm = T[:, JOINT[f"{side}_elbow"]]
        lifted = forearm[:, :, :3] @ wrist + forearm[:, :, 3] - wrist
        assert (lifted[:, 1] < 0).all()
        assert lifted[1, 1] < lifted[0, 1]
        assert np.linalg.norm(lifted[1]) < arms.frame.height / 6
        np.testing.assert_allclose(forearm[:, :, :3] @ elbow + forearm[:, :, 3], [elbow, elbow], atol=1e-3)
        np.testing.assert_allclose(T[:, JOINT[f"{other}_wrist"]], [np.eye(3, 4)] * 2, atol=1e-6)


def test_the_tongue_rides_on_the_jaw_and_reaches_up_and_out(rig, pose):
    jaw, up, out = pose(jaw=0.6), pose(jaw=0.6, tongue_up=1.0), pose(jaw=0.6, tongue_out=1.0)
    T = rig.transforms(np.concatenate([jaw, up, out])).astype(np.float64)
    np.testing.assert_allclose(T[0, -1], T[0, JOINT["jaw"]], atol=1e-4)
    tip = np.einsum("tab,b->ta", T[:, -1, :, :3], rig.tongue) + T[:, -1, :, 3]
    assert down(rig, tip[1] - tip[0]) < -4 * rig.frame.millimetre
    assert (tip[2] - tip[0]) @ rig.frame.axes[2] < -6 * rig.frame.millimetre


def partners(rig: Rig) -> np.ndarray:
    """The vertex of the mesh that lies where each would be seen in a mirror."""
    where = rig.frame.local(rig.vertices[:468].astype(np.float64))
    reflected = where * np.array([-1.0, 1.0, 1.0])
    distance = np.linalg.norm(where[:, None] - reflected[None], axis=2)
    return linear_sum_assignment(distance)[1]


def rig_of(face: np.ndarray) -> Rig:
    """A rig of a face alone, with a rim that is its outline grown."""
    frame = measure_face(face)
    mesh = unfold(face[:468].astype(np.float32))
    outline = mesh[list(topology.OVAL)]
    rim = np.concatenate([outline.mean(0) + s * (outline[::2] - outline.mean(0)) for s in (1.1, 1.25, 1.4)])
    sheet = Sheet(
        np.concatenate([mesh, rim]).astype(np.float32),
        topology.face_triangles().astype(np.int32),
        len(rim),
        frame.height,
    )
    middle, h = face[:468].mean(0).astype(np.float64), frame.height
    found = {"head": middle, "jaw": face[[93, 323]].mean(0).astype(np.float64)}
    found |= {"left_eye": face[473].astype(np.float64), "right_eye": face[468].astype(np.float64)}
    for k, name in enumerate(("neck", "spine3", "spine2", "spine1", "pelvis")):
        found[name] = middle + np.array([0, (0.9 + 0.6 * k) * h, 0])
    for side, sign in (("left", 1), ("right", -1)):
        found[f"{side}_shoulder"] = found["neck"] + np.array([sign * h, 0.2 * h, 0])
    skeleton = place_joints(found)
    skin = joint_weights(sheet.vertices.astype(np.float64), skeleton, h)
    return build_rig(sheet, skeleton, frame, measure_lips(face, frame), skin)


@pytest.mark.parametrize("channel", [*MOUTH[:6], "smile", "blink", "brow_raise"])
def test_a_mirrored_face_moves_as_its_mirror_image(canvas, pose, channel):
    one = rig_of(canvas.face)
    partner = partners(one)
    assert (partner[partner] == np.arange(468)).all()
    assert (partner[list(topology.LIP_UPPER[0])] == topology.LIP_UPPER[0][::-1]).all()
    partner = np.r_[partner, np.arange(473, 478), np.arange(468, 473)]
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = (canvas.face * flip)[partner] + np.array([560.0, 0, 0])
    other = rig_of(mirrored)
    controls = pose(**{channel: 1.0})
    moved, reflected = (vertices(rig, controls)[0] - vertices(rig, pose())[0] for rig in (one, other))
    expected = (moved[:468] * flip)[partner[:468]]
    size = np.linalg.norm(moved, axis=1).max()
    assert size > 0.005 * one.frame.height
    assert np.abs(reflected[:468] - expected).max() < 0.03 * size
