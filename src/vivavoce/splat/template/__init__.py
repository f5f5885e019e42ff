"""The project's own body: a person of Gaussians on 55 joints with SMPL-X names.

Template space: millimetres from the pelvis, x to the picture's right, y down, z away from the camera. The person
faces the camera; the person's own left is at +x.
"""
