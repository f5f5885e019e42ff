"""The control channels between speech and a rig: what every motion model of this family speaks, by name.

A control track is a float32 array (T, C), C = len(CHANNELS), sampled at the centre of each frame: row k is
the state at (k + 0.5) / fps seconds.
"""

from __future__ import annotations

ARTICULATION = (
    "open",  # 0 lips touch .. 1 the widest gap of loud speech (about 0.55 mouth widths)
    "jaw",  # 0 teeth together .. 1 the lowest jaw of loud speech
    "wide",  # 0 rest .. 1 lips spread as in "see"
    "round",  # 0 rest .. 1 lips rounded and protruded as in "who"
    "tuck",  # 0 .. 1 lower lip under the upper teeth, as in "f"
    "press",  # 0 .. 1 lips pressed together, as in "m"
    "tongue_up",  # 0 rest .. 1 tip at the ridge behind the upper teeth, as in "l"
    "tongue_out",  # 0 .. 1 tip between the teeth, as in "th"
)
RHYTHM = (
    "head_yaw",  # radians; positive turns the face to the picture's right
    "head_pitch",  # radians; positive nods down
    "head_roll",  # radians; positive tilts clockwise in the picture
    "brow_raise",  # -1 lowered .. 1 raised
    "gaze_x",  # radians; positive looks to the picture's right
    "gaze_y",  # radians; positive looks down
    "blink",  # 0 open .. 1 shut
    "smile",  # -1 corners down .. 0 rest .. 1 corners up
    "breath",  # -1 out .. 1 in
    "shoulders",  # 0 rest .. 1 a full shrug
    "torso_yaw",  # radians, as for the head
    "torso_pitch",
    "torso_roll",
    "hand_left",  # 0 rest .. 1 the top of a beat gesture; the person's own left
    "hand_right",
)
CHANNELS = ARTICULATION + RHYTHM
INDEX = {name: i for i, name in enumerate(CHANNELS)}
