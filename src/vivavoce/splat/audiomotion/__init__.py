"""AudioAvatar's motion model (paper 001): speech features become motion of particles by diffusion.

`representation` says what is diffused, `embedding` and `transformer` are the networks, `schedule` the noise,
`windows` how speech of any length is drawn piece by piece, `diffusion` joins them.
"""
