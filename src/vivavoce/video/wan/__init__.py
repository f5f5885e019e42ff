"""The pretrained backbone: diffusers' Wan classes with sockets for branches. Knows no paper."""
