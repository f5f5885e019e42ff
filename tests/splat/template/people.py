"""Four people who differ in everything."""

from vivavoce.splat.template.clothes import Clothes
from vivavoce.splat.template.face import Features
from vivavoce.splat.template.hair import Hair
from vivavoce.splat.template.joints import Build
from vivavoce.splat.template.look import Look
from vivavoce.splat.template.paint import Complexion

LOOKS = (
    Look(
        Build(),
        Features(),
        Complexion((0.87, 0.68, 0.57), (0.75, 0.42, 0.40), (0.28, 0.19, 0.12), (0.3, 0.2, 0.12)),
        Hair("long", (0.25, 0.15, 0.08)),
        Clothes((0.2, 0.45, 0.35), (0.2, 0.2, 0.3)),
    ),
    Look(
        Build(1780.0, 1.08, 1.15, 190.0),
        Features(width=1.0, jaw=1.2, length=0.5, brows=-0.5, lips=-0.5),
        Complexion((0.42, 0.27, 0.18), (0.38, 0.2, 0.17), (0.08, 0.06, 0.05), (0.15, 0.08, 0.05), beard=0.8),
        Hair("short", (0.08, 0.06, 0.05)),
        Clothes((0.85, 0.85, 0.9), (0.1, 0.1, 0.1), sleeves="short", neckline="v"),
        glasses=(0.1, 0.1, 0.1),
    ),
    Look(
        Build(1640.0, 0.95, 0.92, 170.0),
        Features(width=-1.0, jaw=-1.0, lips=1.0, eyes=1.0),
        Complexion((0.95, 0.79, 0.70), (0.80, 0.42, 0.45), (0.5, 0.38, 0.22), (0.25, 0.4, 0.5), lines=0.9),
        Hair("bob", (0.7, 0.68, 0.66)),
        Clothes((0.6, 0.2, 0.25), (0.2, 0.2, 0.3), pattern="stripes", second=(0.9, 0.9, 0.9)),
    ),
    Look(
        Build(1720.0, 1.02, 1.0, 178.0),
        Features(jaw=0.3, nose_width=1.0),
        Complexion((0.68, 0.48, 0.35), (0.6, 0.33, 0.3), (0.1, 0.08, 0.06), (0.2, 0.12, 0.07), beard=0.3),
        Hair("curly", (0.1, 0.1, 0.1)),
        Clothes((0.25, 0.27, 0.33), (0.2, 0.2, 0.3), sleeves="none", neckline="collar", pattern="open"),
    ),
)
