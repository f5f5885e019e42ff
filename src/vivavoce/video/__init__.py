"""The video family: a pretrained video diffusion transformer draws the frames, and branches steer it."""
